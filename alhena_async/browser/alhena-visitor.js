// Keeps the chat widget's fingerprints in a cookie for the shop: docs/browser.md
if (!window.alhenaVisitor?.header) {
  const tag = document.currentScript, options = { path: "/", maxAge: 86400,
    consent: () => !!tag?.src, ...tag?.dataset, ...window.alhenaVisitor };
  let pair = null, refused, known, settle, timer, turns = 0, latest = 0;

  const attempt = async (act) => { try { return await act(); } catch {} };
  const keep = (turn, value) => attempt(() => {
    latest = turn;
    settle(pair = value);
    document.cookie = `alhena_visitor=${value};path=${options.path};samesite=lax;max-age=` +
      (value ? options.maxAge : 0) + (location.protocol == "https:" ? ";secure" : "");
  });
  const get = async (name) =>
    encodeURIComponent((await gleenWidget[name]()).match(/^\P{Cc}{1,256}$/u)[0]);
  const read = async () => {
    const turn = ++turns, granted = await attempt(() => !refused && options.consent());
    if (turn < latest) return; // overtaken
    if (granted !== true) return keep(turn, null);
    attempt(() => settle(pair =
      /(^|; )alhena_visitor=([!%'-.~\w]+:[!%'-.~\w]+)(;|$)/.exec(document.cookie)[2]));
    if (window.gleenWidget != known) for (const event of ["widget:loaded",
      "ticket:message_submitted", "ticket:bot_response_finished", "faqs:bot_response_finished"])
      attempt(() => { gleenWidget.on(event, wake); known = gleenWidget; });
    const both = await attempt(() => Promise.all(["getFingerprint", "getFAQFingerprint"].map(get)));
    if (turn > latest && both?.join().length <= 1024) keep(turn, both.join(":"));
  };
  const look = (pause) => {
    read();
    clearTimeout(timer);
    timer = pause < 3e4 ? setTimeout(look, pause, 2 * pause) : settle(null);
  };
  const wake = () => look(250);

  addEventListener("click", wake, true);
  window.alhenaVisitor = {
    header: () => pair,
    ready: new Promise((done) => settle = done),
    consent(answer) {
      latest = ++turns;
      refused = !answer;
      if (refused) keep(turns, null);
      wake();
    },
  };
  wake();
}
