// A stand-in for Alhena's chat widget, with the names and events that the vendor documents: it
// loads late, keeps two fingerprints in its own storage, and answers from a short list.
{
  const ANSWERS = ["A gooseneck kettle pours slowly and precisely.", "The ash-glaze teapot, surely."];
  const listeners = [];
  let ready = false;

  const fire = (name) => listeners.forEach(([one, act]) => { if (one === name) act(); });
  const fingerprint = (name) => {
    if (!ready) return null;
    const kept = localStorage.getItem(name) ?? crypto.randomUUID();
    localStorage.setItem(name, kept);
    return kept;
  };
  window.gleenWidget = {
    on: (name, act) => { listeners.push([name, act]); },
    getFingerprint: () => fingerprint("gleen.fingerprint"),
    getFAQFingerprint: () => fingerprint("gleen.faq_fingerprint"),
  };

  const made = (tag, properties, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const said = (text, who) => chat.log.append(made("p", { className: who, textContent: text }));
  const chat = {
    log: made("div", { className: "chat-log", ariaLive: "polite" }),
    field: made("input", { ariaLabel: "Your question", placeholder: "Ask about tea…", required: true }),
    launcher: made("button", { className: "chat-launcher", textContent: "Chat", ariaExpanded: "false" }),
  };
  const form = made("form", {}, chat.field, made("button", { textContent: "Send" }));
  const panel = made("section", { className: "chat", hidden: true, ariaLabel: "Chat" }, chat.log, form);

  chat.launcher.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    chat.launcher.ariaExpanded = String(!panel.hidden);
    chat.launcher.textContent = panel.hidden ? "Chat" : "Close";
    if (panel.hidden) return fire("widget:closed");
    chat.field.focus();
    return fire("widget:opened");
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    said(chat.field.value, "mine");
    chat.field.value = "";
    fire("ticket:message_submitted");
    setTimeout(() => {
      said(ANSWERS[chat.log.children.length % ANSWERS.length], "theirs");
      fire("ticket:bot_response_finished");
    }, 400);
  });
  for (const question of document.querySelectorAll("[data-faq]")) {
    question.addEventListener("toggle", () => {
      if (!question.open) return;
      fire("faqs:question_clicked");
      setTimeout(fire, 400, "faqs:bot_response_finished");
    });
  }
  setTimeout(() => {
    ready = true;
    said("Hello! What are you looking for?", "theirs");
    document.body.append(panel, chat.launcher);
    fire("widget:loaded");
  }, 300);
}
