"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  // Okabe and Ito's colours, which people with any kind of colour vision tell apart
  const COLOURS = { completed: "#0072b2", cached: "#009e73", error: "#d55e00", canceled: "#999999", critical: "#e69f00", wasted: "#d55e00" };
  const MARKS = { completed: "▶", cached: "✓", error: "✗", canceled: "■" };
  const drawn = new Map();

  // -- small things

  const seconds = (value) => value >= 100 ? `${value.toFixed(0)} s` : value >= 1 ? `${value.toFixed(1)} s` : `${(value * 1000).toFixed(0)} ms`;
  const bytes = (value) => {
    let unit = 0;
    for (; value >= 1000 && unit < 4; unit++) value /= 1000;
    return `${unit && value < 100 ? value.toFixed(1) : value.toFixed(0)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
  };
  const when = (value) => new Date(value * 1000).toLocaleString();
  const escaped = (text) => String(text).replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`);

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  const theme = () => document.documentElement.dataset.theme;
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const ink = () => colour("--ink");
  const axis = (more) => ({ splitLine: { lineStyle: { color: colour("--line") } }, axisLine: { lineStyle: { color: colour("--line") } }, nameTextStyle: { color: ink() }, ...more, axisLabel: { color: ink(), ...(more.axisLabel || {}) } });

  // -- tables: sorted by a click or Enter on a heading

  function table(caption, columns, rows, options = {}) {
    const body = element("tbody");
    const head = element("tr");
    let order = null;
    const fill = () => {
      const sorted = order === null ? rows : [...rows].sort((a, b) => {
        const [left, right] = [columns[order.column].value(a), columns[order.column].value(b)];
        return (left < right ? -1 : left > right ? 1 : 0) * order.sign;
      });
      body.replaceChildren(...sorted.map((row) => {
        const line = element("tr", options.mark && options.mark(row) ? { class: options.mark(row) } : {});
        for (const column of columns) {
          const cell = element("td", column.kind ? { class: column.kind } : {});
          cell.textContent = column.text ? column.text(row) : column.value(row);
          line.append(cell);
        }
        return line;
      }));
    };
    columns.forEach((column, number) => {
      const button = element("button", { type: "button" }, column.title);
      const cell = element("th", { scope: "col", ...(column.kind ? { class: column.kind } : {}) }, button);
      button.addEventListener("click", () => {
        order = { column: number, sign: order !== null && order.column === number ? -order.sign : 1 };
        for (const other of head.children) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", order.sign > 0 ? "ascending" : "descending");
        fill();
      });
      head.append(cell);
    });
    fill();
    return element("div", { class: "scroll" }, element("table", {}, element("caption", {}, caption), element("thead", {}, head), body));
  }

  // -- charts: drawn when their part is first shown, and again for another theme

  function chart(part, height, describe, label) {
    const place = element("div", { class: "chart", role: "img", "aria-label": label, style: `height:${height}px` });
    part.append(place);
    return () => {
      const made = echarts.init(place, theme() === "dark" ? { darkMode: true } : null, { renderer: "svg" });
      made.setOption({ backgroundColor: "transparent", textStyle: { color: ink() }, animation: false, aria: { enabled: true, label: { enabled: false }, decal: { show: true } }, ...describe() });
      return made;
    };
  }

  // -- the parts

  const byId = new Map(data.steps.map((step) => [step.id, step]));
  const tip = (step) => [
    `<b>${escaped(step.name)}</b>`,
    `${MARKS[step.status]} ${step.status}${step.source ? `, ${escaped(step.source)} cache` : ""}${step.worker ? `, on ${escaped(step.worker)}` : ""}`,
    step.status === "cached" ? "" : `${seconds(step.seconds)}, from ${seconds(step.start)}${step.waited >= 0.05 ? `, after ${seconds(step.waited)} of waiting` : ""}`,
    step.before === null ? "" : `before: ${step.before_status === "cached" ? "cached" : seconds(step.before)}`,
    escaped(step.why),
  ].filter(Boolean).join("<br>");

  function timeline(part) {
    const shown = data.steps.filter((step) => step.status !== "cached");
    if (!shown.length) {
      part.append(element("p", { class: "hint" }, "Every step came from a cache: nothing ran."));
    } else {
      part.append(element("p", { class: "hint" }, "Each bar is a step that ran, by stage. The framed ones are the critical path: the build gets quicker only if these do. A thin line before a bar: all that the step needs was there, and it had not begun yet (planning, keys, a free place)."));
    }
    const stages = [...new Set(shown.map((step) => step.stage || "build"))];
    const lanes = [];
    for (const stage of stages) {
      const ends = [];
      for (const step of shown.filter((item) => (item.stage || "build") === stage)) {
        let lane = ends.findIndex((end) => end <= step.start + 0.0005);
        if (lane < 0) { lane = ends.length; ends.push(0); lanes.push(lane ? `${stage} (${lane + 1})` : stage); }
        ends[lane] = step.start + step.seconds;
        step.lane = lanes.indexOf(lane ? `${stage} (${lane + 1})` : stage);
      }
    }
    const draw = shown.length ? chart(part, 110 + 34 * lanes.length, () => ({
      tooltip: { confine: true, formatter: (item) => tip(byId.get(item.value[4])) },
      grid: { left: 10, right: 20, top: 10, bottom: 60, containLabel: true },
      xAxis: axis({ type: "value", name: "seconds", nameLocation: "middle", nameGap: 24 }),
      yAxis: axis({ type: "category", data: lanes, inverse: true, axisLabel: { width: 180, overflow: "truncate" } }),
      dataZoom: [{ type: "slider", bottom: 4, height: 18 }, { type: "inside" }],
      series: [{
        type: "custom",
        encode: { x: [0, 1], y: 2 },
        data: shown.map((step) => [step.start, step.start + step.seconds, step.lane, step.waited, step.id]),
        renderItem: (_, api) => {
          const step = byId.get(api.value(4));
          const from = api.coord([api.value(0), api.value(2)]), to = api.coord([api.value(1), api.value(2)]);
          const early = api.coord([Math.max(0, api.value(0) - api.value(3)), api.value(2)]);
          const high = Math.min(22, api.size([0, 1])[1] * 0.7), wide = Math.max(2, to[0] - from[0]);
          return { type: "group", children: [
            { type: "rect", shape: { x: early[0], y: from[1] - 1, width: Math.max(0, from[0] - early[0]), height: 2 }, style: { fill: COLOURS.canceled } },
            { type: "rect", shape: { x: from[0], y: from[1] - high / 2, width: wide, height: high, r: 2 }, style: { fill: COLOURS[step.status], stroke: step.is_critical ? COLOURS.critical : "none", lineWidth: step.is_critical ? 3 : 0 } },
          ] };
        },
      }],
    }), "Timeline of the steps") : null;
    part.append(table("Steps", [
      { title: "Step", value: (step) => step.name, kind: "code" },
      { title: "Result", value: (step) => step.status, text: (step) => `${MARKS[step.status]} ${step.status}${step.source ? ` (${step.source})` : ""}` },
      { title: "Began", value: (step) => step.start, text: (step) => step.status === "cached" ? "" : seconds(step.start), kind: "number" },
      { title: "Took", value: (step) => step.seconds, text: (step) => step.status === "cached" ? "" : seconds(step.seconds), kind: "number" },
      { title: "Last time", value: (step) => step.before === null ? -1 : step.before, text: (step) => step.before === null ? "" : step.before_status === "cached" ? "cached" : seconds(step.before), kind: "number" },
      { title: "Waited", value: (step) => step.waited, text: (step) => step.waited >= 0.05 ? seconds(step.waited) : "", kind: "number" },
      { title: "Critical", value: (step) => step.is_critical ? 0 : 1, text: (step) => step.is_critical ? "yes" : "" },
      { title: "Cache", value: (step) => step.why },
    ], data.steps, { mark: (step) => step.is_critical ? "critical" : "" }));
    return draw;
  }

  function graph(part) {
    part.append(element("p", { class: "hint" }, "Each step, below what it needs. A tick: from a cache. Framed: the critical path."));
    const depth = new Map(), taken = new Map();
    const depthOf = (id) => {
      if (!depth.has(id)) depth.set(id, 1 + Math.max(-1, ...byId.get(id).needs.filter((need) => byId.has(need) && need < id).map(depthOf)));
      return depth.get(id);
    };
    const columns = [...new Set(data.steps.map((step) => step.stage || "build"))];
    const nodes = data.steps.map((step) => {
      const key = `${depthOf(step.id)} ${step.stage}`;
      const beside = taken.get(key) || 0;
      taken.set(key, beside + 1);
      return { id: String(step.id), name: step.name, value: [columns.indexOf(step.stage || "build") + 0.12 * (beside % 4), depthOf(step.id)], symbol: step.status === "cached" ? "circle" : "roundRect", symbolSize: [34, 20], itemStyle: { color: COLOURS[step.status], borderColor: step.is_critical ? COLOURS.critical : "transparent", borderWidth: 3 }, label: { show: true, formatter: MARKS[step.status], color: "#ffffff" } };
    });
    const links = data.steps.flatMap((step) => step.needs.filter((need) => byId.has(need)).map((need) => ({ source: String(need), target: String(step.id) })));
    return chart(part, 100 + 52 * (1 + Math.max(...depth.values())), () => ({
      tooltip: { confine: true, formatter: (item) => item.dataType === "node" ? tip(byId.get(Number(item.data.id))) : "" },
      grid: { left: 20, right: 20, top: 60, bottom: 20 },
      xAxis: { type: "value", position: "top", min: -0.5, max: columns.length - 0.5, interval: 0.5, splitLine: { show: false }, axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: ink(), rotate: columns.length > 8 ? 30 : 0, formatter: (value) => columns[value] || "" } },
      yAxis: { type: "value", inverse: true, min: -0.5, max: 0.5 + Math.max(...depth.values()), show: false },
      series: [{ type: "graph", coordinateSystem: "cartesian2d", layout: "none", data: nodes, links, edgeSymbol: ["none", "arrow"], edgeSymbolSize: 7, lineStyle: { color: "#999999", width: 1.5, curveness: 0.1, opacity: 0.9 } }],
    }), "Graph of the steps");
  }

  function layers(part) {
    part.append(element("p", { class: "hint" }, "Areas are bytes of files, by layer and directory; click to go in, and the path below to go back. Orange: hidden by a later layer, so it is pulled and never seen."));
    const coloured = (node) => {
      const waste = node.value ? node.wasted / node.value : 0;
      const children = node.children ? node.children.map(coloured) : undefined;
      return { ...node, children, ...(waste > 0.5 && !children ? { itemStyle: { color: COLOURS.wasted } } : {}) };
    };
    const nodes = data.layers.map((layer) => ({ ...coloured(layer.tree), name: `${layer.number}: ${layer.by}` }));
    const draw = chart(part, 520, () => ({
      tooltip: { confine: true, formatter: (item) => `${escaped(item.treePathInfo.map((level) => level.name).filter(Boolean).join(" / "))}<br>${bytes(item.value)} in ${item.data.files} files${item.data.wasted ? `, ${bytes(item.data.wasted)} of it wasted` : ""}` },
      series: [{ type: "treemap", name: "image", data: nodes, leafDepth: 2, width: "100%", height: 470, top: 4, roam: false, color: ["#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#8c6bb1", "#6a8d3a"], upperLabel: { show: true, height: 22, color: "#ffffff", formatter: (item) => `${item.name}, ${bytes(item.value)}` }, label: { lineHeight: 17, formatter: (item) => `${item.name}\n${bytes(item.value)}` }, itemStyle: { borderColor: colour("--line"), gapWidth: 1 }, levels: [{ upperLabel: { show: false } }, { itemStyle: { borderColor: "#333b44", borderWidth: 2, gapWidth: 2 } }], breadcrumb: { bottom: 4 } }],
    }), "Treemap of the layers");
    part.append(table("Layers, the lowest first", [
      { title: "Layer", value: (layer) => layer.number, kind: "number" },
      { title: "By", value: (layer) => layer.by, kind: "code" },
      { title: "Packed", value: (layer) => layer.packed, text: (layer) => bytes(layer.packed), kind: "number" },
      { title: "Files", value: (layer) => layer.tree.files, kind: "number" },
      { title: "Unpacked", value: (layer) => layer.tree.value, text: (layer) => bytes(layer.tree.value), kind: "number" },
      { title: "Wasted", value: (layer) => layer.tree.wasted, text: (layer) => layer.tree.wasted ? bytes(layer.tree.wasted) : "", kind: "number" },
    ], data.layers));
    return draw;
  }

  function lines(part) {
    const sums = new Map();
    for (const layer of data.layers) {
      const sum = sums.get(layer.line) || { line: layer.line, packed: 0, unpacked: 0, wasted: 0 };
      sum.packed += layer.packed; sum.unpacked += layer.tree.value; sum.wasted += layer.tree.wasted;
      sums.set(layer.line, sum);
    }
    const rows = [...sums.values()].sort((a, b) => b.packed - a.packed);
    const bars = rows.slice(0, 30).reverse();
    const draw = chart(part, 80 + 26 * bars.length, () => ({
      tooltip: { confine: true, trigger: "axis", valueFormatter: bytes },
      legend: { top: 0, textStyle: { color: ink() } },
      grid: { left: 10, right: 30, top: 30, bottom: 10, containLabel: true },
      xAxis: axis({ type: "value", axisLabel: { formatter: bytes } }),
      yAxis: axis({ type: "category", data: bars.map((row) => row.line), axisLabel: { width: 420, overflow: "truncate" } }),
      series: [{ name: "to pull", type: "bar", color: COLOURS.completed, data: bars.map((row) => row.packed) }, { name: "wasted, unpacked", type: "bar", color: COLOURS.wasted, data: bars.map((row) => row.wasted) }],
    }), "Size by line of the Dockerfile");
    part.append(table("Size by line of the Dockerfile", [
      { title: "Line", value: (row) => row.line, kind: "code" },
      { title: "To pull", value: (row) => row.packed, text: (row) => bytes(row.packed), kind: "number" },
      { title: "Unpacked", value: (row) => row.unpacked, text: (row) => bytes(row.unpacked), kind: "number" },
      { title: "Wasted", value: (row) => row.wasted, text: (row) => row.wasted ? bytes(row.wasted) : "", kind: "number" },
    ], rows));
    return draw;
  }

  function packages(part) {
    const search = element("input", { type: "search", placeholder: "name, type or line", "aria-label": "Filter packages" });
    const place = element("div");
    const fill = () => {
      const wanted = search.value.toLowerCase();
      const rows = data.packages.filter((item) => Object.values(item).join(" ").toLowerCase().includes(wanted));
      place.replaceChildren(table(`${rows.length} packages`, [
        { title: "Name", value: (item) => item.name, kind: "code" },
        { title: "Version", value: (item) => item.version, kind: "code" },
        { title: "Type", value: (item) => item.type },
        { title: "Brought by", value: (item) => item.line, kind: "code" },
      ], rows));
    };
    search.addEventListener("input", fill);
    part.append(search, place);
    if (data.more_packages) {
      part.append(element("p", { id: "more-packages" }, `and ${data.more_packages} more: tiffin sbom lists all ${data.packages.length + data.more_packages}`));
    }
    fill();
    return null;
  }

  function pastBuilds(part) {
    const builds = [...data.history].reverse();
    const draw = chart(part, 320, () => ({
      tooltip: { confine: true, trigger: "axis" },
      legend: { top: 0, textStyle: { color: ink() } },
      grid: { left: 10, right: 10, top: 40, bottom: 10, containLabel: true },
      xAxis: axis({ type: "category", data: builds.map((item) => when(item.started)) }),
      yAxis: [axis({ type: "value", name: "seconds" }), axis({ type: "value", name: "size", axisLabel: { formatter: bytes }, splitLine: { show: false } })],
      series: [{ name: "seconds", type: "bar", color: COLOURS.completed, data: builds.map((item) => Number(item.seconds.toFixed(2))) }, { name: "size", type: "line", yAxisIndex: 1, color: COLOURS.critical, data: builds.map((item) => item.size || null), tooltip: { valueFormatter: (value) => value === null ? "-" : bytes(value) } }],
    }), "Builds of this name");
    part.append(table("Builds of this name, the newest first", [
      { title: "Began", value: (item) => item.started, text: (item) => when(item.started) },
      { title: "Build", value: (item) => item.id, kind: "code" },
      { title: "Result", value: (item) => item.status },
      { title: "Took", value: (item) => item.seconds, text: (item) => seconds(item.seconds), kind: "number" },
      { title: "Steps", value: (item) => item.steps, text: (item) => `${item.cached} of ${item.steps} cached`, kind: "number" },
      { title: "Size", value: (item) => item.size, text: (item) => item.size ? bytes(item.size) : "", kind: "number" },
    ], data.history));
    return draw;
  }

  // -- the page

  const PARTS = [
    ["Timeline", timeline, data.steps.length],
    ["Graph", graph, data.steps.length],
    ["Layers", layers, data.layers.length],
    ["Lines", lines, data.layers.length],
    ["Packages", packages, data.packages.length],
    ["History", pastBuilds, data.history.length > 1],
  ].filter((row) => row[2]);

  function show(name) {
    for (const tab of document.getElementById("tabs").children) {
      const chosen = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = !chosen;
    }
    const state = drawn.get(name);
    if (state.draw && !state.made) state.made = state.draw();
    if (state.made) state.made.resize();
    window.history.replaceState(null, "", `#${name}`);
  }

  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  document.getElementById("title").textContent = data.title;
  document.getElementById("subtitle").textContent = data.subtitle;
  for (const [name, value] of data.facts) document.getElementById("facts").append(element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  for (const [name, make] of PARTS) {
    const tab = element("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `part-${name}` }, name);
    const part = element("section", { role: "tabpanel", id: `part-${name}`, "aria-labelledby": `tab-${name}` });
    document.getElementById("tabs").append(tab);
    document.getElementById("parts").append(part);
    drawn.set(name, { draw: make(part), made: null });
    tab.addEventListener("click", () => show(name));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const number = (PARTS.findIndex((row) => row[0] === name) + step + PARTS.length) % PARTS.length;
      show(PARTS[number][0]);
      document.getElementById(`tab-${PARTS[number][0]}`).focus();
    });
  }
  document.getElementById("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    for (const state of drawn.values()) if (state.made) { state.made.dispose(); state.made = state.draw(); }
  });
  window.addEventListener("resize", () => { for (const state of drawn.values()) if (state.made) state.made.resize(); });
  if (PARTS.length) show(PARTS.some((row) => `#${row[0]}` === location.hash) ? location.hash.slice(1) : PARTS[0][0]);
})();
