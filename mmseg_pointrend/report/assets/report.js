// Sorting, filtering and the viewer of a report. No framework, no requests: it runs from the disk.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = JSON.parse($("#data").textContent);
const ENDS = 6; // images of each end that are shown first
let baseline = 0;

function make(tag, className, ...content) {
  const element = document.createElement(tag);
  element.className = className;
  element.append(...content);
  return element;
}

// ---- Tables -------------------------------------------------------------------------------------

function sortTable(header) {
  const row = header.parentElement;
  const column = [...row.children].indexOf(header);
  const key = (tr) => tr.children[column].dataset.value ?? tr.children[column].textContent.trim();
  const isText = column === 0;
  const [first, second] = isText ? ["ascending", "descending"] : ["descending", "ascending"];
  const order = header.getAttribute("aria-sort") === first ? second : first;
  for (const other of row.children) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  const body = $("tbody", header.closest("table"));
  body.append(...[...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (isText) return sign * x.localeCompare(y);
    if (x === "" || y === "") return (x === "") - (y === ""); // what has no value comes last
    return sign * (x - y);
  }));
}

for (const button of $$("thead button")) button.addEventListener("click", () => sortTable(button.parentElement));

// ---- Gallery ------------------------------------------------------------------------------------

const cards = $$("#cards > li").map((element) => ({ element, item: data.items[element.dataset.item] }));
let shown = []; // items in the order of the gallery, which the viewer follows

function gainOf(item) {
  const chosen = $("#class").value;
  return chosen && item.by_class.length ? item.by_class[baseline][chosen] : item.gains[baseline];
}

const signed = (value) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(1);

function showGain(element, item) {
  const gain = gainOf(item);
  const known = data.hasTruth && gain !== undefined;
  element.textContent = data.hasTruth ? (known ? signed(gain) : "–") : `${gain.toFixed(1)}% changed`;
  element.className = "change" + (known && gain ? (gain > 0 ? " gain" : " loss") : "");
}

function showGallery() {
  const order = $("#order").value;
  const chosen = $("#class").value;
  const found = cards.filter(({ item }) => !chosen || item.classes.includes(Number(chosen)));
  const gain = ({ item }) => gainOf(item) ?? 0;
  if (order === "name") found.sort((a, b) => a.item.name.localeCompare(b.item.name));
  else found.sort((a, b) => (order === "loss" ? 1 : -1) * (gain(a) - gain(b)));
  let list = found;
  let elements = found.map((card) => card.element);
  if (order === "ends") {
    const gained = found.filter((card) => gain(card) > 0).slice(0, ENDS);
    const lost = found.filter((card) => gain(card) < 0).slice(-ENDS).reverse();
    const least = lost.length ? lost : found.slice(gained.length).slice(-ENDS).reverse();
    list = [...gained, ...least];
    elements = [
      make("li", "divide", gained.length ? "Gained most" : "No image gained"), ...gained.map((card) => card.element),
      make("li", "divide", lost.length ? "Lost most" : "No image lost: gained least"), ...least.map((card) => card.element),
    ];
  }
  shown = list.map((card) => card.item);
  for (const { element, item } of list) {
    $("img", element).src = `images/${item.stem}-crop${baseline}.jpg`;
    $("img", element).alt = `${data.names[baseline]} and ${data.names.at(-1)}, side by side`;
    showGain($(".change", element), item);
  }
  $("#cards").replaceChildren(...elements);
  $("#count").textContent = `${list.length} of ${cards.length} images`;
}

for (const select of $$("#order, #class")) select.addEventListener("change", showGallery);
for (const input of $$("#baseline input")) {
  input.addEventListener("change", () => {
    baseline = Number(input.value);
    for (const part of $$("[data-baseline]")) part.hidden = Number(part.dataset.baseline) !== baseline;
    showGallery();
  });
}

// ---- Viewer: all panes share the custom properties of the stage, so they move in step -----------

const [viewer, stage, divider] = ["#viewer", "#stage", "#divider"].map((id) => $(id));
const view = { item: null, x: 0, y: 0, zoom: 1, split: 50 };
const state = { t: false, e: false, p: false, h: false, g: false };

function paint() {
  for (const name of ["x", "y", "zoom"]) stage.style.setProperty(`--${name}`, view[name]);
  stage.style.setProperty("--split", `${view.split}%`);
  stage.classList.toggle("crisp", view.zoom >= 1);
  divider.ariaValueNow = Math.round(view.split);
  $("#zoom").textContent = `${Math.round(view.zoom * 100)}%`;
}

function image(name, kind) {
  const element = make("img", kind);
  element.src = `images/${view.item.stem}-${name}`;
  element.alt = "";
  return element;
}

function world(labels) {
  const layers = [image("photo.jpg", "photo")];
  if (state.e) layers.push(image(`errors${baseline}.png`, "errors"));
  else if (labels && !state.h) layers.push(image(labels, "labels"));
  if (state.p) layers.push(image("points.png", "points"));
  return make("div", "world", ...layers);
}

const tag = (text, side) => make("span", `tag ${side}`, text);
const pane = (...parts) => make("div", "pane", ...parts);
const half = (kind, labels) => make("div", `half ${kind}`, world(labels));

function build() {
  const last = data.names.length - 1;
  const before = [`labels${baseline}.png`, data.names[baseline]];
  const after = [`labels${last}.png`, data.names[last]];
  const truth = ["truth.png", "Truth"];
  let panes;
  if (state.g) {
    const views = [[null, "Photo"], before, after, ...(data.hasTruth ? [truth] : [])];
    panes = views.map(([labels, name]) => pane(world(labels), tag(name, "left")));
  } else if (state.t || state.e || state.h) {
    const name = state.e ? `Errors of ${before[1]} and ${after[1]}` : state.t ? "Truth" : "Photo";
    panes = [pane(world(state.t ? truth[0] : null), tag(name, "left"))];
  } else {
    panes = [pane(half("after", after[0]), half("before", before[0]), tag(before[1], "left"), tag(after[1], "right"))];
  }
  divider.hidden = state.g || state.t || state.e || state.h;
  stage.classList.toggle("quad", state.g);
  stage.replaceChildren(...panes, divider);
  for (const button of $$("[aria-pressed]", viewer)) button.ariaPressed = state[button.dataset.key];
  showLegend();
  paint();
}

function showLegend() {
  let entries = view.item.classes.map((k) => [data.classes[k].color, data.classes[k].name]);
  if (state.e) entries = data.errorColors.map((color, k) => [color, ["Fixed", "Broken", "Wrong in both"][k]]);
  if (state.p) data.stepColors.forEach((color, k) => entries.push([color, `Points of step ${k + 1}`]));
  $("#legend").replaceChildren(...entries.map(([color, name]) => {
    const swatch = make("span", "swatch");
    swatch.style.setProperty("--color", color);
    return make("li", "", swatch, name);
  }));
}

function paneSize() {
  const box = ($(".pane", stage) ?? stage).getBoundingClientRect();
  return [box.width, box.height];
}

function look(left, top, width, height, margin) {
  const [w, h] = paneSize();
  view.zoom = Math.min(w / width, h / height) * margin;
  view.x = w / 2 - (left + width / 2) * view.zoom;
  view.y = h / 2 - (top + height / 2) * view.zoom;
  paint();
}

const fit = () => look(0, 0, view.item.size[1], view.item.size[0], 1);

function lookAtChange() {
  const [top, left, height, width] = view.item.windows[baseline];
  look(left, top, width, height, 0.9);
}

function zoomAt(factor, x, y) {
  const zoom = Math.min(Math.max(view.zoom * factor, 0.05), 64);
  view.x = x - (x - view.x) * (zoom / view.zoom);
  view.y = y - (y - view.y) * (zoom / view.zoom);
  view.zoom = zoom;
  paint();
}

const zoomBy = (factor) => zoomAt(factor, ...paneSize().map((length) => length / 2));

function move(x, y) {
  view.x += x;
  view.y += y;
  paint();
}

function split(percent) {
  view.split = Math.min(Math.max(percent, 0), 100);
  paint();
}

function open(item) {
  view.item = item;
  stage.style.setProperty("--w", item.size[1]);
  stage.style.setProperty("--h", item.size[0]);
  $("#viewer-name").textContent = item.name;
  showGain($("#viewer-gain"), item);
  if (!viewer.open) viewer.showModal();
  build();
  fit();
  stage.focus();
}

function step(count) {
  if (shown.length) open(shown[(shown.indexOf(view.item) + count + shown.length) % shown.length]);
}

function toggle(key) {
  if ($(`[data-key=${key}]`, viewer).hidden) return;
  state[key] = !state[key];
  if (state[key]) for (const other of { t: "eh", e: "th", h: "te" }[key] ?? "") state[other] = false;
  const [w, h] = paneSize();
  const center = [(w / 2 - view.x) / view.zoom, (h / 2 - view.y) / view.zoom];
  build();
  const [width, height] = paneSize(); // panes of the grid are smaller: keep their center in place
  if (width !== w) Object.assign(view, { zoom: view.zoom * (width / w) });
  move(width / 2 - center[0] * view.zoom - view.x, height / 2 - center[1] * view.zoom - view.y);
}

const actions = {
  "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: fit, z: lookAtChange,
  j: () => step(1), k: () => step(-1), x: () => viewer.close(),
  ArrowLeft: (shift) => (shift ? move(60, 0) : split(view.split - 2)),
  ArrowRight: (shift) => (shift ? move(-60, 0) : split(view.split + 2)),
  ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
  Home: () => split(0), End: () => split(100),
};
for (const key of "tephg") actions[key] = () => toggle(key);

viewer.addEventListener("keydown", (event) => {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.type === "range" || !(key in actions)) return;
  event.preventDefault();
  actions[key](event.shiftKey);
});
for (const button of $$("button[data-key]", viewer)) {
  button.hidden = ("te".includes(button.dataset.key) && !data.hasTruth) || (button.dataset.key === "p" && !data.stepColors.length);
  button.addEventListener("click", () => actions[button.dataset.key](false));
}
$("#opacity").addEventListener("input", (event) => stage.style.setProperty("--opacity", event.target.value / 100));
stage.style.setProperty("--opacity", 0.55);

function inPane(event) {
  const target = document.elementsFromPoint(event.clientX, event.clientY).find((e) => e.classList.contains("pane"));
  const box = (target ?? stage).getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
}

const pointers = new Map();
let dragsDivider = false;
stage.addEventListener("pointerdown", (event) => {
  dragsDivider = divider.contains(event.target);
  pointers.set(event.pointerId, event);
  stage.setPointerCapture(event.pointerId);
  stage.classList.add("dragging");
});
stage.addEventListener("pointermove", (event) => {
  const last = pointers.get(event.pointerId);
  if (!last) return;
  const box = stage.getBoundingClientRect();
  const others = [...pointers.values()].filter((other) => other.pointerId !== event.pointerId);
  if (dragsDivider) split(((event.clientX - box.left) / box.width) * 100);
  else if (others.length) {
    const distance = (a) => Math.hypot(a.clientX - others[0].clientX, a.clientY - others[0].clientY);
    zoomAt(distance(event) / Math.max(distance(last), 1), ...inPane(others[0]));
  } else move(event.clientX - last.clientX, event.clientY - last.clientY);
  pointers.set(event.pointerId, event);
});
for (const name of ["pointerup", "pointercancel"]) {
  stage.addEventListener(name, (event) => {
    pointers.delete(event.pointerId);
    stage.classList.remove("dragging");
  });
}
stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoomAt(Math.exp(-event.deltaY / 400), ...inPane(event));
}, { passive: false });
stage.addEventListener("dblclick", (event) => zoomAt(2, ...inPane(event)));
$("#cards").addEventListener("click", (event) => {
  const card = event.target.closest("[data-item]");
  if (card) open(data.items[card.dataset.item]);
});
showGallery();
