"use strict";
const base = document.body.dataset.base;

function report(check, ok, detail) {
  const row = document.querySelector(`tr[data-check="${check}"]`);
  const state = row.querySelector(".state");
  state.textContent = ok ? "works" : "fails";
  state.classList.add(ok ? "ok" : "bad");
  if (detail) row.lastElementChild.textContent += `: ${detail}`;
}

async function run(check, action) {
  try {
    report(check, true, await action());
  } catch (error) {
    report(check, false, String(error.message || error));
  }
}

async function json(url, options) {
  const response = await fetch(url, options);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

run("static", async () => "");

run("upload", async () => {
  const text = `hello ${Date.now()}`;
  const form = new FormData();
  form.append("file", new Blob([text]), "hello.txt");
  const sent = await json(`${base}upload`, { method: "POST", body: form });
  const back = await (await fetch(sent.url, { cache: "no-store" })).text();
  if (back !== text) throw new Error("another content came back");
  return `${sent.size} bytes`;
});

run("websocket", () => new Promise((resolve, reject) => {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}${document.body.dataset.channels}`);
  const started = performance.now();
  socket.onopen = () => socket.send("hello");
  socket.onmessage = () => { socket.close(); resolve(`${Math.round(performance.now() - started)} ms`); };
  socket.onerror = () => reject(new Error("no connection"));
}));

run("task", async () => {
  const answer = await json(`${base}task?x=20&y=22`);
  if (answer.result !== 42) throw new Error(`20 + 22 = ${answer.result}`);
  return `20 + 22 = 42 in ${answer.seconds} s`;
});

run("beat", async () => {
  for (let i = 0; i < 12; i++) {
    const { times } = await json(`${base}heartbeats`);
    if (times.length) return `${times.length} so far`;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  throw new Error("nothing came in 12 s");
});

// Rows and columns as CATMAID asks for them: SECTION/ROW_COLUMN_ZOOM.
const tiles = document.getElementById("tiles");
for (let n = 0; tiles && n < 12; n++) {
  const image = document.createElement("img");
  image.alt = "";
  image.src = `${tiles.dataset.url}0/${Math.floor(n / 4)}_${n % 4}_0.jpg`;
  tiles.append(image);
}
