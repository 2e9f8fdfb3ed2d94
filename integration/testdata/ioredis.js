// Drives ioredis for the tests: "cluster" or "sentinel", then addresses. It reads a command a line, a JSON array of its
// words, and answers a line for each: {"value": …} or {"error": "…"}.
"use strict";
const { Cluster, Redis } = require("ioredis");

const [kind, ...addresses] = process.argv.slice(2);
const at = addresses.map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const client = kind === "cluster" ? new Cluster(at) : new Redis({ sentinels: at, name: "mymaster" });
client.on("error", () => {}); // each command is told

const lines = require("readline").createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const [name, ...args] = JSON.parse(line);
  let answer;
  try {
    answer = { value: await client[name.toLowerCase()](...args) };
  } catch (e) {
    answer = { error: String(e.message) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
});
lines.on("close", () => process.exit(0));
