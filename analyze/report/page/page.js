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

// Plots: a tooltip with the step or point nearest to the pointer, or selected with the arrow keys, from the table of values.
function element(name, attributes, parent) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return parent.appendChild(node);
}

const clamp = (value, most) => Math.max(0, Math.min(most, value));

for (const plot of document.querySelectorAll(".plot")) {
  const canvas = plot.querySelector(".canvas");
  const { width, height, top, bottom } = canvas.dataset;
  const headers = [...plot.querySelectorAll("thead th")];
  const rows = [...plot.querySelectorAll("tbody tr[data-x]")].map(row => {
    const cells = [...row.cells].map((cell, i) => ({
      text: cell.textContent && (cell.dataset.color ? cell.textContent : `${headers[i].textContent} ${cell.textContent}`),
      color: cell.dataset.color || headers[i].dataset.color,
      y: cell.dataset.y,
    }));
    return { x: Number(row.dataset.x), cells: cells.filter(cell => cell.text), point: cells[0].color && cells[0] };
  });
  if (rows.length === 0) continue; // nothing can be selected
  const keys = [...plot.querySelectorAll(".keys li")]; // of the lines
  const marks = element("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", style: "position: absolute; inset: 0; pointer-events: none" }, canvas);
  const tip = canvas.appendChild(document.createElement("div"));
  tip.className = "tip";
  let current = rows.length - 1;

  const emphasize = line => keys.forEach((key, i) => {
    for (const part of [key, document.getElementById(`${plot.id}-line-${i}`)]) {
      part.classList.toggle("faded", line !== undefined && line !== key.textContent);
    }
  });
  const hide = () => { marks.style.display = "none"; tip.hidden = true; emphasize(); };
  const mark = ({ x, cells }) => {
    marks.replaceChildren();
    element("line", { class: "guide", x1: x, x2: x, y1: top, y2: bottom }, marks);
    for (const { y, color } of cells) if (y) element("circle", { class: "spot", r: 3, cx: x, cy: y, style: `fill: ${color}` }, marks);
    marks.style.display = "";
  };
  const write = cells => {
    tip.replaceChildren(...cells.map(({ text, color }, i) => {
      const line = document.createElement(i ? "div" : "b");
      if (color) line.appendChild(document.createElement("i")).style.background = color;
      line.append(text);
      return line;
    }));
    tip.hidden = false;
  };
  const place = ({ x, point }) => {
    const scale = canvas.clientWidth / width;
    const left = x < width / 2 ? x * scale + 12 : x * scale - 12 - tip.offsetWidth; // on the side with more room
    tip.style.left = `${clamp(left, canvas.clientWidth - tip.offsetWidth)}px`;
    tip.style.top = point ? `${clamp(point.y * scale - tip.offsetHeight / 2, canvas.clientHeight - tip.offsetHeight)}px` : 0;
  };
  const show = index => {
    current = clamp(index, rows.length - 1);
    const row = rows[current];
    mark(row);
    write(row.cells);
    place(row);
    emphasize(row.point?.text);
    const [first, ...others] = row.cells.map(cell => cell.text);
    canvas.setAttribute("aria-valuenow", current);
    canvas.setAttribute("aria-valuetext", `${first}: ${others.join(", ")}`);
  };
  const nearest = event => {
    const box = canvas.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * width;
    const y = (event.clientY - box.top) / box.height * height;
    const distances = rows.map(row => Math.hypot(row.x - x, row.point ? row.point.y - y : 0));
    return distances.indexOf(Math.min(...distances));
  };
  const moves = {
    ArrowLeft: () => current - 1, ArrowDown: () => current - 1, ArrowRight: () => current + 1, ArrowUp: () => current + 1,
    PageDown: () => current - 10, PageUp: () => current + 10, Home: () => 0, End: () => rows.length - 1,
  };

  canvas.setAttribute("role", "slider"); // selects a row
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
    if (event.key in moves) { show(moves[event.key]()); event.preventDefault(); }
  });
  for (const key of keys) {
    key.addEventListener("pointerenter", () => emphasize(key.textContent));
    key.addEventListener("pointerleave", () => emphasize());
  }
  show(current);
  hide();
}

// Sortable tables: the header of a column sorts the rows in ascending order, and again in descending order.
const missing = text => ["", "—", "nan"].includes(text);
const toNumber = text => {
  const plain = text.replaceAll(",", "").replaceAll("−", "-").replace(/∞|inf/, "Infinity");
  return Number(plain.split(/[%°±]/)[0]);
};
const comparison = texts => texts.some(text => isNaN(toNumber(text)))
  ? (a, b) => a.localeCompare(b, "en", { numeric: true })
  : (a, b) => toNumber(a) - toNumber(b);

for (const table of document.querySelectorAll("table.sortable")) {
  const headers = [...table.tHead.rows[0].cells];
  const sort = (column, direction) => {
    const text = row => row.cells[column].textContent.trim();
    const rows = [...table.tBodies[0].rows];
    const present = rows.filter(row => !missing(text(row)));
    const compare = comparison(present.map(text));
    present.sort((a, b) => direction * compare(text(a), text(b)));
    table.tBodies[0].append(...present, ...rows.filter(row => missing(text(row))));
  };
  headers.forEach((header, column) => {
    const button = document.createElement("button");
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => {
      const order = header.ariaSort === "ascending" ? "descending" : "ascending";
      for (const other of headers) other.ariaSort = null;
      header.ariaSort = order;
      sort(column, order === "ascending" ? 1 : -1);
    });
  });
}
