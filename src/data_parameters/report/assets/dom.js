// Elements, numbers and words. Every text goes into the page as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

const byId = (id) => document.getElementById(id);

function fill(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const el = (tag, properties = {}, ...children) =>
  fill(document.createElement(tag), properties, children);
const svg = (tag, properties = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), properties, children);

const button = (words, action, properties = {}) =>
  el("button", { type: "button", onclick: action, ...properties }, words);

// A name of the data set keeps its direction to itself, and may break after a sign between words.
const name = (text) =>
  el("bdi", { class: "name" }, ...text.split(/(?<=[_./-])/).flatMap((part, place) => (place ? [el("wbr"), part] : [part])));

const whole = new Intl.NumberFormat("en-GB");
const percent = (share, digits = 1) => (share === null ? "–" : `${(100 * share).toFixed(digits)} %`);
const decimal = (value, digits = 2) =>
  value === null || value === undefined ? "–" : value.toFixed(digits).replace("-", "−");
const sigma = (value) =>
  value === null || value === undefined
    ? "–"
    : value >= 9.95 ? value.toFixed(0) : value >= 0.995 ? value.toFixed(1) : value.toFixed(2);
const score = (value) => (value < 0.001 ? "< 0.001" : value.toFixed(3));
const plural = (count, word) => `${whole.format(count)} ${word}${count === 1 ? "" : "s"}`;

const DATA = JSON.parse(byId("data").textContent);
const CLASSES = DATA.run.class_names;
const className = (label) => (label === null || label < 0 ? "–" : CLASSES[label]);

let statusTimer = 0;
function say(words) {
  const status = byId("status");
  status.textContent = words;
  status.classList.add("shown");
  clearTimeout(statusTimer);
  statusTimer = setTimeout(() => status.classList.remove("shown"), 6000);
}

// Browsers may refuse to keep anything for a page from the disk.
const store = {
  works: true,
  get(key) {
    try {
      return localStorage.getItem(key);
    } catch {
      this.works = false;
      return null;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(key, value);
    } catch {
      this.works = false;
    }
    return this.works;
  },
};
