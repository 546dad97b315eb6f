import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { request, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runStudy } from '../../src/pipeline/run.js';
import { serveRun } from '../../src/report/watch.js';
import type { WatchState } from '../../src/report/watch_state.js';
import { FakeServices, fakeStudy } from '../pipeline/fake_services.js';

let folder = '';
let server: Server | null = null;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'watch-'));
});
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
  server = null;
  rmSync(folder, { recursive: true });
});

async function serve(): Promise<string> {
  const served = await serveRun(join(folder, 'a'), 0);
  server = served.server;
  return served.url;
}

function get(url: string, options: object = {}): Promise<{ status: number; body: string }> {
  return new Promise((done, fail) => {
    request(url, options, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.on('end', () => done({ status: response.statusCode!, body }));
    })
      .on('error', fail)
      .end();
  });
}

it('shows stages, curves and newest rows of a run, and writes nothing', async () => {
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices() });
  const before = readdirSync(folder, { recursive: true });
  const url = await serve();
  expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
  expect((await get(url)).body).toContain('<h1>a</h1>');
  const state = JSON.parse((await get(`${url}state.json`)).body) as WatchState;
  expect(state.live).toBeNull();
  expect(state.stages.map(({ name }) => name)).toContain('train small raw');
  expect(state.curves.map(({ name }) => name).sort()).toEqual(
    ['answer-only', 'raw', 'short', 'truncated'].map((arm) => `small ${arm}`),
  );
  expect(state.curves[0]!.points).toHaveLength(5);
  expect(state.newest!.file).toMatch(/^evaluations\/small\//);
  expect(state.newest!.rows).toHaveLength(5);
  expect((await get(`${url}report.html`)).body).toContain('Paired comparisons');
  expect(readdirSync(folder, { recursive: true })).toEqual(before);
});

it('shows the stage at work, with its rate', async () => {
  let seen: WatchState | null = null;
  const url = { value: '' };
  const services = new FakeServices({
    dieAfter: 20,
    stop: () => {
      seen = null;
    },
  });
  const progress = { start: () => ({ advance() {}, extend() {}, finish() {} }), note() {}, prompt() {} };
  const look = async () => {
    url.value ||= await serve();
    seen = JSON.parse((await get(`${url.value}state.json`)).body) as WatchState;
  };
  const open = services.open.bind(services);
  services.open = async (...args) => {
    const model = await open(...args);
    return {
      ...model,
      status: () => 'KV 12 %',
      async *generate(requests, options) {
        for await (const completion of model.generate(requests, options)) {
          yield completion;
          if (seen === null) await look();
        }
      },
    };
  };
  await runStudy(fakeStudy(folder, 'a'), { services, progress, stages: ['traces'] });
  expect(seen!.live).toMatchObject({ stage: 'traces round 1/3', unit: 'rows', total: 40, state: 'KV 12 %' });
});

it('answers no other host, no other method and no other path', async () => {
  mkdirSync(join(folder, 'a'));
  writeFileSync(join(folder, 'secret.jsonl'), '{"id":"secret"}\n');
  symlinkSync(join(folder, 'secret.jsonl'), join(folder, 'a', 'traces.jsonl'));
  const url = await serve();
  expect((await get(url, { headers: { host: 'evil.example' } })).status).toBe(403);
  expect((await get(url, { method: 'POST' })).status).toBe(405);
  for (const path of ['manifest.json', '../secret.jsonl', '%2e%2e/secret.jsonl', 'traces.jsonl', 'report.html'])
    expect((await get(url + path)).status).toBe(404);
  const state = await get(`${url}state.json`);
  expect(state.status).toBe(200);
  expect(state.body).not.toContain('secret');
});

it('says in one line that there is no such run, or no such port', async () => {
  await expect(serveRun(join(folder, 'nothing'), 0)).rejects.toThrow(/to be the folder of a run/);
  mkdirSync(join(folder, 'a'));
  const port = Number(new URL(await serve()).port);
  await expect(serveRun(join(folder, 'a'), port)).rejects.toThrow(/Expected port \d+ to be free/);
});
