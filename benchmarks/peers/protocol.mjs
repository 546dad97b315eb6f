/** How a peer talks to the benchmark that started it: a line of JSON in, a line of JSON out, until the input ends. */
import { createInterface } from 'node:readline';

/** Answers requests {task, ...} with tasks[task](rest). A task that fails is answered with its reason. */
export async function serve(tasks) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { task, ...rest } = JSON.parse(line);
    let reply;
    try {
      reply = { answer: (await tasks[task](rest)) ?? null };
    } catch (error) {
      reply = { error: String(error).replaceAll(/\s+/g, ' ') };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
  process.exit(0);
}

/** A package of this folder, or the remedy. */
export async function load(name) {
  try {
    return await import(name);
  } catch (error) {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error(`${name} is not installed; see benchmarks/README.md`, { cause: error });
  }
}

export async function versionOf(name) {
  const { readFileSync } = await import('node:fs');
  return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version;
}
