"use strict";
// Show the studies of one theme, and the claims with one verdict.
(() => {
  const form = document.querySelector("form.filters");
  if (!form) return;
  const studies = [...document.querySelectorAll("article.study")];
  const theme = document.getElementById("theme");
  const verdict = document.getElementById("verdict");

  function filter() {
    let shownStudies = 0;
    let shownClaims = 0;
    for (const study of studies) {
      const claims = [...study.querySelectorAll("li")];
      let matching = 0;
      for (const claim of claims) {
        const found = claim.dataset.verdicts.split(" ");
        claim.hidden = verdict.value !== "" && !found.includes(verdict.value);
        matching += !claim.hidden;
      }
      const ofTheme = theme.value === "" || study.dataset.theme === theme.value;
      study.hidden = !ofTheme || (verdict.value !== "" && matching === 0);
      if (!study.hidden) {
        shownStudies += 1;
        shownClaims += matching;
      }
    }
    document.getElementById("shown").textContent =
      `${shownStudies} of ${studies.length} studies, ${shownClaims} claims`;
  }

  form.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
})();
