/** A server on 127.0.0.1 that shows a run's folder while it runs: read-only, and nothing but that folder. */
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { escapeXml } from './svg.js';
import { watchPage } from './watch_page.js';
import { watchState } from './watch_state.js';

const host = '127.0.0.1';

const headers = {
  'Cache-Control': 'no-store',
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Content-Security-Policy':
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'",
};

/** Whether a request is meant for this machine: a page elsewhere whose name was made to point here is not. */
function isLocal({ headers: { host: name = '' } }: IncomingMessage): boolean {
  return /^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(name);
}

function answer(folder: string, request: IncomingMessage, response: ServerResponse): void {
  const { status, type, body } = page(folder, request);
  response.writeHead(status, { ...headers, 'Content-Type': `${type}; charset=utf-8` });
  response.end(request.method === 'HEAD' ? undefined : body);
}

function page(folder: string, request: IncomingMessage): { status: number; type: string; body: string | Buffer } {
  const plain = (status: number, body: string) => ({ status, type: 'text/plain', body });
  if (!isLocal(request)) return plain(403, 'This page is for 127.0.0.1 alone.\n');
  if (request.method !== 'GET' && request.method !== 'HEAD') return plain(405, 'Only GET.\n');
  const { pathname } = new URL(request.url ?? '/', `http://${host}`);
  const report = join(folder, 'report.html');
  if (pathname === '/') return { status: 200, type: 'text/html', body: watchPage(escapeXml(basename(folder))) };
  if (pathname === '/state.json')
    return { status: 200, type: 'application/json', body: JSON.stringify(watchState(folder)) };
  if (pathname === '/report.html' && existsSync(report))
    return { status: 200, type: 'text/html', body: readFileSync(report) };
  return plain(404, 'Not here.\n');
}

/**
 * @param port 0: any free one
 * @returns the server, listening, and its address
 * @throws {UserError} when there is no such folder, or the port is taken
 */
export async function serveRun(run: string, port: number): Promise<{ server: Server; url: string }> {
  const folder = resolve(run);
  if (!existsSync(folder)) throw new UserError(`Expected '${run}' to be the folder of a run; it is the study's 'run'`);
  const server = createServer((request, response) => {
    try {
      answer(folder, request, response);
    } catch (error) {
      response.writeHead(500, headers).end(`${error instanceof Error ? error.message : error}\n`);
    }
  });
  await new Promise<void>((done, fail) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      fail(
        error.code === 'EADDRINUSE' || error.code === 'EACCES'
          ? new UserError(`Expected port ${port} to be free but it is not; choose another with --port, or 0 for any`)
          : error,
      ),
    );
    server.listen(port, host, done);
  });
  return { server, url: `http://${host}:${(server.address() as AddressInfo).port}/` };
}
