/* The page: news of the runs, what a training is told, and its parts. */
import { ask, button, make, place, tell } from "./dom.js";
import { curves } from "./curves.js";
import { network } from "./network.js";
import { layers } from "./layers.js";
import { results } from "./results.js";
import { playground } from "./playground.js";

const by = (id) => document.getElementById(id);
const page = { kind: "show", runs: [], chosen: 0, overviews: new Map(), listeners: [], say, run: () => page.runs[page.chosen] };
let parts = [], current = null, source = null;

function say(text) {
  by("error").textContent = text || "";
  by("error").hidden = !text;
}

/* News: numbers of epochs that are new, and how the runs stand. After a lost connection it goes on where it was. */
function listen() {
  if (source) source.close();
  const known = Object.fromEntries(page.runs.map((each) => [each.key, each.count]));
  source = new EventSource(`news?${new URLSearchParams({ known: JSON.stringify(known) })}`);
  source.onmessage = (event) => {
    const news = JSON.parse(event.data);
    news.runs.forEach(take);
    page.runs.length = news.runs.length;
    if (news.error) say(news.error);
    stand();
    for (const each of page.listeners) each(news);
  };
  source.onerror = () => {
    by("state").textContent = "not connected: trying again";
    by("state").className = "away";
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 1000);
  };
}

function take(news, number) {
  let run = page.runs[number];
  if (!run || run.key !== news.key || news.from !== run.count) {
    const whole = news.from === 0 || !run;
    if (!whole && news.from > run.count) return;
    run = whole ? { columns: {}, count: 0, fresh: true } : run;
    page.runs[number] = run;
  }
  const added = Math.max(0, ...Object.values(news.columns).map((values) => values.length));
  for (const [name, values] of Object.entries(news.columns)) {
    const column = run.columns[name] || (run.columns[name] = Array(news.from).fill(null));
    column.length = news.from;
    for (const value of values) column.push(value);
  }
  run.count = news.from + added;
  for (const column of Object.values(run.columns)) while (column.length < run.count) column.push(null);
  run.new = added > 0 || run.fresh;
  run.fresh = false;
  Object.assign(run, { key: news.key, name: news.name, state: news.state, steps: news.steps, steered: news.steered, trouble: news.trouble });
}

const WORDS = { training: "is training", waiting: "paused", finished: "finished", interrupted: "interrupted: backpass resume goes on",
  "broken off": "broken off: backpass resume goes on", unreadable: "its run.json cannot be read" };

/* What is trained in the playground is not gone on with elsewhere. */
const OWN_WORDS = { interrupted: "stopped", "broken off": "has failed", unreadable: "begins" };

function stand() {
  const run = page.run();
  const state = by("state");
  if (!run) {
    state.textContent = "nothing trained yet";
    state.className = "";
    by("steering").hidden = by("steering-keys").hidden = true;
    return;
  }
  const epochs = run.count ? `, ${run.count.toLocaleString("en-US")} epochs` : "";
  const word = (page.kind === "playground" && OWN_WORDS[run.state]) || WORDS[run.state] || run.state;
  state.textContent = `${word}${epochs}${run.state === "waiting" ? `, after step ${run.steps.toLocaleString("en-US")}` : ""}`;
  state.className = run.state;
  const active = run.steered && ["training", "waiting"].includes(run.state);
  by("steering").hidden = by("steering-keys").hidden = !active;
  by("hold").disabled = run.state === "waiting";
  by("go").disabled = run.state !== "waiting";
  if (run.trouble) say(run.trouble);
  const names = page.runs.map((each) => each.name).join("\n");
  const which = by("run");
  by("which").hidden = page.runs.length < 2;
  if (which.dataset.names !== names) {
    which.dataset.names = names;
    which.replaceChildren(...page.runs.map((each, number) => make("option", each.name, { value: String(number) })));
  }
  which.value = String(page.chosen);
}

async function steer(what) {
  try {
    await tell("steer", { do: what }, { run: page.chosen });
    say("");
  } catch (error) {
    say(error.message);
  }
}
page.steer = steer;

/* What is known of a run beside its history; asked once. */
page.overview = (number) => {
  const key = page.runs[number] ? page.runs[number].key : "";
  if (!page.overviews.has(key)) page.overviews.set(key, ask("overview", { run: number }));
  return page.overviews.get(key);
};

page.head = async () => {
  const run = page.run();
  document.title = run ? `${run.name} - backpass` : "backpass";
  by("title").textContent = page.kind === "playground" ? "backpass playground" : run ? run.name : "backpass";
  if (!run) by("about").textContent = "";
  if (!run) return;
  try {
    const found = await page.overview(page.chosen);
    const hidden = found.hidden.length ? `hidden ${found.hidden.join(", ")} ${found.activation}` : "no hidden layer";
    if (page.run() !== run) return;
    by("about").textContent = `${found.table}: ${found.targets.join(", ")} from ${found.rows.train.toLocaleString("en-US")} rows, ` +
      `${hidden}${found.members > 1 ? `, ${found.members} networks` : ""}; ${found.steps_per_epoch.toLocaleString("en-US")} steps an epoch, of ${found.batch_size} rows`;
  } catch (error) {
    by("about").textContent = error.message;
  }
};

page.show = (name, changes = {}) => {
  const part = parts.find((each) => each.name === name) || parts[0];
  place.write({ tab: part.name, ...changes });
  for (const each of parts) {
    const here = each === part;
    each.tab.setAttribute("aria-selected", String(here));
    each.tab.tabIndex = here ? 0 : -1;
    each.panel.hidden = !here;
  }
  current = part;
  by("network-keys").hidden = part.name !== "network";
  if (!part.handle) part.handle = part.begin(part.panel, page);
  part.handle.show(changes);
};

function tabs(all) {
  by("last-key").textContent = String(all.length);
  parts = all.map(([name, title, begin]) => ({ name, title, begin }));
  for (const part of parts) {
    part.panel = make("div", null, { role: "tabpanel", id: `part-${part.name}`, "aria-labelledby": `tab-${part.name}`, hidden: true });
    part.tab = button(part.title, () => page.show(part.name), { role: "tab", id: `tab-${part.name}`, "aria-controls": `part-${part.name}` });
    part.tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = parts[(parts.indexOf(part) + step + parts.length) % parts.length];
      page.show(next.name);
      next.tab.focus();
      event.preventDefault();
    });
    by("tabs").append(part.tab);
    by("main").append(part.panel);
  }
}

function theme() {
  const choice = by("theme");
  let kept = "";
  try { kept = localStorage.getItem("backpass-theme") || ""; } catch { /* a browser that keeps nothing */ }
  const set = (value) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    charts.redraw();
    if (current && current.handle.theme) current.handle.theme();
  };
  choice.value = kept;
  set(kept);
  choice.addEventListener("change", () => {
    try { localStorage.setItem("backpass-theme", choice.value); } catch { /* the same */ }
    set(choice.value);
  });
}

function keys(event) {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const number = Number(event.key);
  if (number >= 1 && number <= parts.length) page.show(parts[number - 1].name);
  else if (by("steering").hidden) return;
  else if (event.key === "p") steer(page.run().state === "waiting" ? "go" : "hold");
  else if (event.key === "s") steer("step");
  else if (event.key === "x") steer("stop");
  else return;
  event.preventDefault();
}

async function begin() {
  const about = await ask("about");
  page.kind = about.kind;
  const all = [["curves", "Curves", curves], ["network", "Network", network], ["layers", "Layers", layers], ["results", "Results", results]];
  tabs(about.kind === "playground" ? [["build", "Build", playground], ...all] : all);
  for (const [id, what] of [["hold", "hold"], ["step", "step"], ["go", "go"], ["stop", "stop"]]) by(id).addEventListener("click", () => steer(what));
  by("run").addEventListener("change", () => {
    page.chosen = Number(by("run").value);
    place.write({ run: page.chosen || null, step: null, row: null });
    stand();
    page.head();
    current.handle.show({});
  });
  theme();
  document.addEventListener("keydown", keys);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) source.close();
    else listen();
  });
  page.chosen = Number(place.read().run || 0);
  let first = true, key = null;
  page.listeners.push(() => {
    const run = page.run();
    if (first || (run ? run.key : null) !== key) {
      key = run ? run.key : null;
      page.head();
    }
    if (first) {
      first = false;
      page.show(place.read().tab || parts[0].name);
    } else if (current && current.handle.news) current.handle.news();
  });
  listen();
}

begin().catch((error) => say(error.message));
