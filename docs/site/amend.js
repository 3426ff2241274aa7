// What the theme makes in the page gets the names and the focus that a keyboard and a screen reader need.
const amend = () => {
  document.querySelectorAll(".md-code__nav").forEach((nav, n) => { nav.ariaLabel = `Code block ${n + 1}`; });
  document.querySelectorAll(".md-code__button").forEach(button => { button.ariaLabel ??= button.title; });
  document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code").forEach(one => { one.tabIndex = 0; });
  document.querySelectorAll(".md-nav[aria-labelledby]").forEach(nav => {
    nav.ariaLabel = nav.querySelector(".md-nav__title")?.textContent.trim() || "Pages";
    nav.removeAttribute("aria-labelledby");  // it names a label that is not shown on a phone
  });
  const search = document.querySelector(".md-search");
  if (search) search.ariaLabel = "Search";
};
amend();
new MutationObserver(amend).observe(document.body, { childList: true, subtree: true });
