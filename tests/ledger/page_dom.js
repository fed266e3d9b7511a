// As much of a document as the page of the ledger uses: runs the page's script and steps through all of it.
"use strict";
const fs = require("fs");
const vm = require("vm");

class Element {
  constructor(kind) {
    this.kind = kind;
    this.children = [];
    this.attributes = {};
    this.listeners = {};
    this.own = "";
  }
  get textContent() {
    return this.own + this.children.map((child) => (typeof child === "string" ? child : child.textContent)).join(" ");
  }
  set textContent(text) {
    this.own = text;
    this.children = [];
  }
  get value() {
    return this.attributes.value;
  }
  set value(value) {
    this.attributes.value = value;
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  removeAttribute(name) {
    delete this.attributes[name];
  }
  append(...children) {
    this.children.push(...children.filter((child) => child instanceof Element));
  }
  replaceChildren(...children) {
    this.own = "";
    this.children = children;
  }
  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }
}

const page = fs.readFileSync(process.argv[2], "utf8");
const known = {};
for (const [, id] of page.matchAll(/ id="([a-z]+)"/g)) known[id] = new Element(id);
known.ledger.own = page.match(/id="ledger">(.*?)<\/script>/s)[1];
const listeners = {};
const document = {
  getElementById: (id) => known[id],
  createElement: (kind) => new Element(kind),
  createElementNS: (_, kind) => new Element(kind),
  addEventListener: (name, listener) => (listeners[name] = listener),
};
vm.runInNewContext(page.match(/<script>\n(.*?)<\/script>/s)[1], { document });

function press(key) {
  listeners.keydown({ key, target: null, preventDefault() {} });
  return { at: Number(known.where.value), told: known.told.textContent };
}

const told = [];
let last = -1;
press("Home");
for (let now = { at: 0, told: known.told.textContent }; now.at !== last; now = press("ArrowRight")) {
  told.push(now.told);
  last = now.at;
}
const phases = ["1", "2", "3", "4", "5"].map((key) => press(key).told.split(" ")[0]);
const circles = known.network.children.filter((child) => child.kind === "circle").length;
process.stdout.write(JSON.stringify({ told, phases, circles, verdict: known.verdict.textContent, last }));
