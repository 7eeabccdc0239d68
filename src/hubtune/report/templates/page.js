"use strict";
(() => {
  const STEP = 22; // pixels a class needs in a square chart before its counts are legible
  const NARROW = 7.5; // pixels it needs before its name is

  // Figures name colours of the style sheet, so that one figure serves the light and the dark page.
  const colored = (value, style, key = "") => {
    if (typeof value === "string" && /color/.test(key) && value.startsWith("var(")) return style.getPropertyValue(value.slice(4, -1)).trim();
    if (Array.isArray(value)) return /colorscale|^color/.test(key) ? value.map((item) => colored(item, style, key)) : value.map((item) => colored(item, style));
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, colored(v, style, k)]));
    return value;
  };

  const axis = (style, own) => ({
    gridcolor: style.getPropertyValue("--line").trim(), linecolor: style.getPropertyValue("--mark-edge").trim(), zeroline: false,
    ...own, title: { standoff: 10, ...(own || {}).title },
  });

  const squared = (data, layout, width, most) => {
    const labels = layout.xaxis.ticktext;
    const side = Math.min(width, most);
    const longest = Math.max(...labels.map((label) => label.length));
    const step = (side - 60 - Math.min(longest, 22) * 5) / labels.length;
    const named = step >= NARROW;
    const size = Math.max(7.5, Math.min(12, step));
    for (const name of ["xaxis", "yaxis"]) Object.assign(layout[name], { automargin: true, showticklabels: named, ticks: named ? "outside" : "", ticklen: 3, tickfont: { size } });
    layout.xaxis.tickangle = longest * size * 0.6 < step ? 0 : -90;
    layout.height = side;
    layout.margin = { l: 20, r: 4, t: 4, b: 20 };
    for (const trace of data) {
      trace.xgap = trace.ygap = step >= 6 ? 1 : 0;
      trace.textfont.size = Math.min(13, step / 2.2);
      if (step < STEP) delete trace.texttemplate;
    }
  };

  const draw = (plot) => {
    const style = getComputedStyle(document.documentElement);
    const spec = JSON.parse(document.querySelector(`script[data-for="${plot.id}"]`).textContent);
    const view = colored(spec.views[Number(plot.dataset.view || 0)], style);
    const text = style.getPropertyValue("--text").trim();
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", height: spec.height, autosize: true,
      margin: { l: 40, r: 16, t: 12, b: 44 }, showlegend: false,
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: style.getPropertyValue("--muted").trim() },
      // A finger on a chart scrolls the page.
      dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false,
      hoverlabel: { bgcolor: style.getPropertyValue("--card").trim(), bordercolor: style.getPropertyValue("--mark-edge").trim(), font: { color: text, size: 12 }, align: "left" },
      ...view.layout,
    };
    layout.xaxis = axis(style, layout.xaxis);
    layout.yaxis = axis(style, layout.yaxis);
    layout.xaxis.tickangle = 0;
    layout.yaxis.automargin = true;
    if (spec.square) squared(view.data, layout, plot.clientWidth, spec.height);
    plot.style.minHeight = "";
    return Plotly.react(plot, view.data, layout, { displaylogo: false, displayModeBar: false, typesetMath: false, responsive: false });
  };

  const plots = [...document.querySelectorAll(".plot")];
  const drawAll = () => plots.forEach(draw);
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === width) return;
    width = innerWidth;
    requestAnimationFrame(drawAll);
  });

  for (const button of document.querySelectorAll(".choices button")) {
    button.addEventListener("click", () => {
      for (const other of button.parentElement.children) other.setAttribute("aria-pressed", String(other === button));
      // One row of buttons may serve several charts.
      const figures = button.parentElement.dataset.charts?.split(" ").map((id) => document.getElementById(id));
      for (const plot of figures ?? [button.closest("figure").querySelector(".plot")]) {
        plot.dataset.view = button.dataset.view;
        draw(plot);
      }
    });
  }

  const key = (row, column) => {
    const cell = row.cells[column];
    if (!("value" in cell.dataset)) return cell.textContent.trim();
    return cell.dataset.value === "" ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...table.tBodies[0].rows].map((row) => [key(row, column), row]);
        // What has no value stays last, whichever way the rest is sorted.
        rows.sort(([a], [b]) => (a === null || b === null ? (a === null) - (b === null) : (down ? -1 : 1) * compare(a, b)));
        table.tBodies[0].append(...rows.map(([, row]) => row));
      });
    });
  }

  for (const button of navigator.clipboard ? document.querySelectorAll(".copy") : []) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }
})();
