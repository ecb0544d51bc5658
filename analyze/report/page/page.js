"use strict";

// Dark or light: the system's choice, until the button is pressed.
{
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement.style;
  const isDark = () => (root.colorScheme || (system.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.colorScheme = isDark() ? "light" : "dark"; name(); });
  system.addEventListener("change", name);
  button.hidden = false;
  name();
}

// Viewers: one slider moves all tracks.
for (const viewer of document.querySelectorAll(".viewer")) {
  const slider = viewer.querySelector("input");
  const positions = [...viewer.querySelectorAll(".positions li")].map(one => one.textContent);
  const tracks = [...viewer.querySelectorAll("figure")].map(figure => ({
    shown: figure.dataset.shown.split(" ").map(Number),
    pictures: figure.querySelectorAll("img"),
    labels: figure.querySelectorAll("span"),
  }));
  const show = () => {
    const position = Number(slider.value);
    viewer.querySelector("output").textContent = positions[position];
    slider.setAttribute("aria-valuetext", positions[position]);
    for (const { shown, pictures, labels } of tracks) {
      pictures.forEach((one, i) => { one.hidden = i !== shown[position]; });
      labels.forEach((one, i) => { one.hidden = i !== shown[position]; });
    }
  };
  slider.addEventListener("input", show);
  slider.closest(".slider").hidden = positions.length < 2;
  show(); // a browser that goes back to the page keeps where the slider was
}

// Plots: the values at the step below the pointer, or where the arrow keys have gone; they are those of the table.
function element(name, attributes, parent) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return parent.appendChild(made);
}

for (const plot of document.querySelectorAll(".plot")) {
  const canvas = plot.querySelector(".canvas");
  const { width, height, top, bottom } = canvas.dataset;
  const curves = [...plot.querySelectorAll("thead th[data-colour]")].map(one => ({ label: one.textContent, colour: one.dataset.colour }));
  const rows = [...plot.querySelectorAll("tbody tr")].map(row => ({
    step: row.cells[0].textContent,
    x: Number(row.dataset.x),
    values: [...row.cells].slice(1).map(cell => ({ text: cell.textContent, y: cell.dataset.y })),
  }));
  const marks = element("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", style: "position: absolute; inset: 0; pointer-events: none" }, canvas);
  const guide = element("line", { class: "guide", y1: top, y2: bottom }, marks);
  const spots = curves.map(({ colour }) => element("circle", { class: "spot", r: 3, style: `fill: ${colour}` }, marks));
  const tip = canvas.appendChild(document.createElement("div"));
  tip.className = "tip";
  let at = rows.length - 1;

  const hide = () => { marks.style.display = "none"; tip.hidden = true; };
  const write = row => {
    tip.replaceChildren();
    tip.appendChild(document.createElement("b")).textContent = `step ${row.step}`;
    row.values.forEach(({ text }, i) => {
      if (!text) return;
      const line = tip.appendChild(document.createElement("div"));
      line.appendChild(document.createElement("i")).style.background = curves[i].colour;
      line.append(`${curves[i].label} ${text}`);
    });
  };
  const show = place => {
    at = Math.max(0, Math.min(rows.length - 1, place));
    const row = rows[at];
    guide.setAttribute("x1", row.x);
    guide.setAttribute("x2", row.x);
    row.values.forEach(({ y }, i) => {
      spots[i].style.display = y === undefined ? "none" : "";
      if (y !== undefined) { spots[i].setAttribute("cx", row.x); spots[i].setAttribute("cy", y); }
    });
    write(row);
    marks.style.display = "";
    tip.hidden = false;
    const x = row.x / width * canvas.clientWidth;
    const beside = row.x < width / 2 ? x + 12 : x - 12 - tip.offsetWidth; // where there is more room
    tip.style.left = `${Math.max(0, Math.min(canvas.clientWidth - tip.offsetWidth, beside))}px`;
    const said = row.values.map(({ text }, i) => text && `${curves[i].label} ${text}`).filter(Boolean);
    canvas.setAttribute("aria-valuenow", at);
    canvas.setAttribute("aria-valuetext", `step ${row.step}: ${said.join(", ")}`);
  };
  const nearest = event => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    return rows.reduce((best, row, i) => Math.abs(row.x - x) < Math.abs(rows[best].x - x) ? i : best, 0);
  };
  const keys = {
    ArrowLeft: () => at - 1, ArrowDown: () => at - 1, ArrowRight: () => at + 1, ArrowUp: () => at + 1,
    PageDown: () => at - 10, PageUp: () => at + 10, Home: () => 0, End: () => rows.length - 1,
  };

  canvas.setAttribute("role", "slider"); // of the step
  canvas.setAttribute("aria-valuemin", 0);
  canvas.setAttribute("aria-valuemax", rows.length - 1);
  canvas.tabIndex = 0;
  canvas.addEventListener("pointermove", event => show(nearest(event)));
  canvas.addEventListener("pointerdown", event => show(nearest(event)));
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("focus", () => show(at));
  canvas.addEventListener("blur", hide);
  canvas.addEventListener("keydown", event => {
    if (event.key === "Escape") hide();
    if (event.key in keys) { show(keys[event.key]()); event.preventDefault(); }
  });
  show(at);
  hide();
}
