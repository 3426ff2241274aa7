// The shop's consent banner. The visitor script asks `consent` before it reads or keeps anything,
// so this stands before it in the page; if it does not load, `data-consent` there means no.
{
  const banner = document.querySelector("#consent");
  const privacy = document.querySelector("#privacy");
  const declined = document.querySelector("#declined");
  const choice = () => localStorage.getItem("shop.consent"); // "yes", "no", or null: not asked yet

  window.alhenaVisitor = { consent: () => choice() === "yes" };

  function tell() {
    declined.textContent =
      choice() === "no" ? "You declined: nothing of this visit is kept, and nothing is sent to Alhena." : "";
  }

  for (const button of banner.querySelectorAll("button")) {
    button.addEventListener("click", () => {
      if (choice()) privacy.focus(); // back to where it was opened from
      localStorage.setItem("shop.consent", button.value);
      banner.hidden = true;
      tell();
      window.alhenaVisitor.consent(button.value === "yes"); // at once, also when it is taken back
    });
  }
  privacy.addEventListener("click", () => {
    banner.hidden = false;
    banner.querySelector("button").focus();
  });
  window.addEventListener("storage", tell); // the choice was made in another tab
  banner.hidden = choice() !== null;
  tell();
}
