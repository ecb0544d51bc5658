"use strict";

// Dark or light: the system's preference until the button is pressed.
{
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement.style;
  const isDark = () => (root.colorScheme || (system.matches ? "dark" : "light")) === "dark";
  const update = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => { root.colorScheme = isDark() ? "light" : "dark"; update(); });
  system.addEventListener("change", update);
  button.hidden = false;
  update();
}

// Viewers: one slider moves all tracks.
for (const viewer of document.querySelectorAll(".viewer")) {
  const slider = viewer.querySelector("input");
  const positions = [...viewer.querySelectorAll(".positions li")].map(item => item.textContent);
  const tracks = [...viewer.querySelectorAll("figure")].map(figure => ({
    order: figure.dataset.order.split(" ").map(Number),
    pictures: figure.querySelectorAll("img"),
    labels: figure.querySelectorAll("span"),
  }));
  const show = () => {
    const position = Number(slider.value);
    viewer.querySelector("output").textContent = positions[position];
    slider.setAttribute("aria-valuetext", positions[position]);
    for (const { order, pictures, labels } of tracks) {
      pictures.forEach((picture, i) => { picture.hidden = i !== order[position]; });
      labels.forEach((label, i) => { label.hidden = i !== order[position]; });
    }
  };
  slider.addEventListener("input", show);
  slider.closest(".slider").hidden = positions.length < 2;
  show(); // browsers restore the slider position on history navigation
}

// Plots: a tooltip with the values of the table at the step nearest to the pointer or selected with the arrow keys.
function element(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
}

for (const plot of document.querySelectorAll(".plot")) {
  const canvas = plot.querySelector(".canvas");
  const { width, height, top, bottom } = canvas.dataset;
  const curves = [...plot.querySelectorAll("thead th[data-color]")].map(cell => ({ label: cell.textContent, color: cell.dataset.color }));
  const rows = [...plot.querySelectorAll("tbody tr")].map(row => ({
    step: row.cells[0].textContent,
    x: Number(row.dataset.x),
    values: [...row.cells].slice(1).map(cell => ({ text: cell.textContent, y: cell.dataset.y })),
  }));
  const marks = element("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", style: "position: absolute; inset: 0; pointer-events: none" }, canvas);
  const guide = element("line", { class: "guide", y1: top, y2: bottom }, marks);
  const spots = curves.map(({ color }) => element("circle", { class: "spot", r: 3, style: `fill: ${color}` }, marks));
  const tip = canvas.appendChild(document.createElement("div"));
  tip.className = "tip";
  let current = rows.length - 1;

  const hide = () => { marks.style.display = "none"; tip.hidden = true; };
  const write = row => {
    tip.replaceChildren();
    tip.appendChild(document.createElement("b")).textContent = `step ${row.step}`;
    row.values.forEach(({ text }, i) => {
      if (!text) return;
      const line = tip.appendChild(document.createElement("div"));
      line.appendChild(document.createElement("i")).style.background = curves[i].color;
      line.append(`${curves[i].label} ${text}`);
    });
  };
  const show = index => {
    current = Math.max(0, Math.min(rows.length - 1, index));
    const row = rows[current];
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
    const left = row.x < width / 2 ? x + 12 : x - 12 - tip.offsetWidth; // on the side with more room
    tip.style.left = `${Math.max(0, Math.min(canvas.clientWidth - tip.offsetWidth, left))}px`;
    const values = row.values.map(({ text }, i) => text && `${curves[i].label} ${text}`).filter(Boolean);
    canvas.setAttribute("aria-valuenow", current);
    canvas.setAttribute("aria-valuetext", `step ${row.step}: ${values.join(", ")}`);
  };
  const nearest = event => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    return rows.reduce((best, row, i) => Math.abs(row.x - x) < Math.abs(rows[best].x - x) ? i : best, 0);
  };
  const keys = {
    ArrowLeft: () => current - 1, ArrowDown: () => current - 1, ArrowRight: () => current + 1, ArrowUp: () => current + 1,
    PageDown: () => current - 10, PageUp: () => current + 10, Home: () => 0, End: () => rows.length - 1,
  };

  canvas.setAttribute("role", "slider"); // selects a step
  canvas.setAttribute("aria-valuemin", 0);
  canvas.setAttribute("aria-valuemax", rows.length - 1);
  canvas.tabIndex = 0;
  canvas.addEventListener("pointermove", event => show(nearest(event)));
  canvas.addEventListener("pointerdown", event => show(nearest(event)));
  canvas.addEventListener("pointerleave", hide);
  canvas.addEventListener("focus", () => show(current));
  canvas.addEventListener("blur", hide);
  canvas.addEventListener("keydown", event => {
    if (event.key === "Escape") hide();
    if (event.key in keys) { show(keys[event.key]()); event.preventDefault(); }
  });
  show(current);
  hide();
}
