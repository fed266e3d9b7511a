/* What a run came to on rows that were held out. */
import { ask, button, during, make, place, shown } from "./dom.js";

export function results(panel, page) {
  let key = "";
  const host = make("div");
  panel.append(host);

  async function load() {
    const run = page.run();
    const now = run ? `${run.key} ${run.state} ${run.steps}` : "";
    if (now === key && host.childElementCount) return;
    key = now;
    if (!run) return host.replaceChildren(make("p", "Nothing is trained yet: press Train.", { class: "faint" }));
    const found = await during(host, "judging the held-out rows …", () => ask("results", { run: page.chosen }));
    if (!found) { key = ""; return undefined; }
    const part = (...content) => { const section = make("section", content); grid.append(section); return section; };
    const grid = make("div", null, { class: "grid" });
    host.append(make("p", `On ${found.rows.toLocaleString("en-US")} ${found.scored_on} rows: ${Object.entries(found.scores).map(([name, value]) => `${name.replaceAll("_", " ")} ${shown(value, 4)}`).join(", ")}.`), grid);
    for (const head of found.heads || [found]) {
      if (found.heads) part(make("h2", head.name));
      if (head.classes) ofClasses(head, part);
      else for (const target of head.targets) ofNumbers(target, part);
    }
    return undefined;
  }

  function ofClasses(found, part) {
    if (found.classes.length <= 30) charts.matrix(part(), { title: "Confusion matrix", told: "down what is right, across what the network answers; on the diagonal both agree", corner: "is \\ answered", rows: found.classes, columns: found.classes, values: found.confusion, square: true, byRow: true });
    const chosen = found.classes.length === 2 ? found.curves.slice(1) : found.curves;
    const merged = (which) => chosen.map((each) => ({ label: each.name, x: each[which][0], y: each[which][1] }));
    curve(part(), "ROC", "for each threshold: how many of the others are taken for the class, and how many of the class are found", "false positive rate", "true positive rate", merged("roc"), [{ from: [0, 0], to: [1, 1], label: "chance" }]);
    curve(part(), "Precision and recall", "for each threshold: how many of the class are found, and how many of those found are of it", "recall", "precision", merged("pr"));
    curve(part(), "Calibration", "how often answers are right that the network is so sure of; on the line as often as it says", "sure", "right",
      [{ label: "rows", x: found.calibration.map((bin) => bin.sure), y: found.calibration.map((bin) => bin.right) }], [{ from: [0, 0], to: [1, 1], label: "as often as it says" }], true);
    worst(part(), found.worst, ["is", "answered", "p of what is right"], (each) => [each.actual, each.predicted, each.p]);
  }

  function curve(host_, title, told, x, y, series, guides, points) {
    charts.scatter(host_, { title, told, x: { label: x, range: [0, 1] }, y: { label: y, range: [0, 1.02] }, guides, height: 300, series: series.map((each) => ({ ...each, kind: points ? "points" : "line", size: 9 })) });
  }

  function ofNumbers(target, part) {
    const all = [...target.actual, ...target.predicted].filter(Number.isFinite), low = Math.min(...all), high = Math.max(...all);
    charts.scatter(part(), { title: `${target.name}: answers`, told: "each row: what is right, and what the network answers; on the line they agree", x: { label: "is" }, y: { label: "answered" }, guides: [{ from: [low, low], to: [high, high], label: "" }], height: 300, series: [{ label: "rows", x: target.actual, y: target.predicted, size: 5 }] });
    charts.scatter(part(), { title: "Residuals", told: "answered less what is right, by the answer", x: { label: "answered" }, y: { label: "error" }, guides: [{ y: 0, label: "" }], height: 300, series: [{ label: "rows", x: target.predicted, y: target.predicted.map((value, i) => value - target.actual[i]), size: 5 }] });
    charts.histogram(part(), { title: "How large the errors are", told: "rows by their error", x: { label: "error" }, y: { label: "rows" }, edges: target.residuals.edges, series: [{ label: "rows", counts: target.residuals.counts }] });
    worst(part(), target.worst, ["is", "answered", "error"], (each) => [each.actual, each.predicted, each.error]);
  }

  function worst(host_, rows, heads, cells) {
    host_.append(make("h2", "The worst rows"), make("p", "A row's number opens its ledger: every number of forward and backward.", { class: "faint" }),
      make("div", make("table", [make("tr", ["row", ...heads].map((name, i) => make("th", name, { scope: "col", class: i && rows.length && typeof cells(rows[0])[i - 1] === "number" ? "number" : null }))),
        ...rows.map((each) => make("tr", [
          make("td", each.row === null ? "–" : button(`row ${each.row}`, () => { place.write({ step: null }); page.show("network", { row: each.row, held: 1, mean: null }); })),
          ...cells(each).map((value) => (typeof value === "number" ? make("td", shown(value, 4), { class: "number" }) : make("td", value)))]))]), { class: "plot" }));
  }

  return { show: load, news() {} };
}
