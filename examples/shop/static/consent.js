// The shop's consent banner. The visitor script asks `consent` before it reads or keeps anything,
// so this stands before it in the page; if it does not load, `data-consent` there means no.
{
  const banner = document.querySelector("#consent");
  const privacy = document.querySelector("#privacy");
  const choice = () => localStorage.getItem("shop.consent"); // "yes", "no", or null: not asked yet

  window.alhenaVisitor = { consent: () => choice() === "yes" };

  for (const button of banner.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      if (choice()) privacy.focus(); // back to where it was opened from
      localStorage.setItem("shop.consent", button.value);
      banner.hidden = true;
      window.alhenaVisitor.consent(button.value === "yes"); // at once, also when it is taken back
    });
  }
  privacy.addEventListener("click", () => {
    banner.hidden = false;
    banner.querySelector("button").focus();
  });
  banner.hidden = choice() !== null;
}
