// Draws each chart, and redraws it when the colour scheme changes.
const dark = matchMedia("(prefers-color-scheme: dark)");

function config() {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const faint = style.getPropertyValue("--faint").trim();
  const line = style.getPropertyValue("--line").trim();
  const accent = style.getPropertyValue("--accent").trim();
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: "transparent" },
    axis: { labelColor: faint, titleColor: ink, gridColor: line, domainColor: line, tickColor: line },
    legend: { labelColor: ink, titleColor: ink, orient: "top" },
    line: { color: accent },
    area: { color: accent },
    point: { color: accent, filled: true },
    bar: { color: accent },
  };
}

async function draw() {
  for (const chart of document.querySelectorAll(".chart")) {
    const spec = JSON.parse(document.getElementById(chart.id + "-spec").textContent);
    delete spec.config;
    await vegaEmbed(chart, spec, { renderer: "svg", actions: false, config: config() });
    // the element has a description: a screen reader need not read hundreds of marks
    chart.querySelector("svg")?.setAttribute("aria-hidden", "true");
  }
  document.body.dataset.drawn = "yes";
}

dark.addEventListener("change", draw);
draw();
