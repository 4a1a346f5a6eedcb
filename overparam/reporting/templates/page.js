"use strict";
// Replace each static image by the interactive chart; where that fails the image stays.
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const figures = [...document.querySelectorAll("figure.chart")];
  const views = new Map();
  const ROOM_FOR_AXIS = 80;
  const WIDEST = 800;

  function config() {
    const theme = dark.matches ? themes.dark : themes.light;
    if (innerWidth >= 600) return theme;
    return { ...theme, legend: { ...theme.legend, columns: 2, labelLimit: 120 } };
  }

  // Vega-Lite fits a single view to its container; charts on top of each other are fitted here.
  function fitted(spec, width) {
    if (!spec.vconcat) return spec;
    const wide = Math.max(240, Math.min(width - ROOM_FOR_AXIS, WIDEST));
    const fit = (view) => (view.width || !(view.mark || view.layer) ? view : { ...view, width: wide });
    return { ...spec, vconcat: spec.vconcat.map(fit) };
  }

  async function draw(figure) {
    const place = figure.querySelector(".live");
    const image = figure.querySelector("img");
    views.get(figure)?.finalize();
    place.hidden = false;
    try {
      const spec = JSON.parse(figure.querySelector("script.spec").textContent);
      const drawn = await window.vegaEmbed(place, fitted(spec, place.clientWidth), {
        actions: false,
        ast: true,
        config: config(),
        defaultStyle: false,
        renderer: "canvas",
        tooltip: { disableDefaultStyle: true },
      });
      views.set(figure, drawn);
      image.classList.add("print-only");
    } catch (error) {
      place.hidden = true;
      image.classList.remove("print-only");
      console.error(error);
    }
  }

  async function drawAll() {
    for (const figure of figures) {
      if (figure.querySelector("script.spec")) await draw(figure);
    }
    document.documentElement.dataset.charts = "drawn";
  }

  for (const figure of figures) {
    const link = figure.querySelector("a.png");
    if (link) {
      link.href = figure.querySelector("img").src;
      link.hidden = false;
    }
  }
  dark.addEventListener("change", drawAll);
  drawAll();
})();
