/** Files of the Hugging Face model hub, given up on soon when it cannot be reached. */
import { downloadFile } from '@huggingface/hub';
import type { CatalogueEntry } from './catalogue.js';

/** Until the hub answers, and between two pieces of a file. */
const patienceMilliseconds = { answer: 8_000, data: 30_000 };

/**
 * The contents of a file. `HF_ENDPOINT` names another hub, `HF_HUB_OFFLINE` none.
 * @throws Error with one line when the hub is out of reach or lacks the file; while reading, when nothing comes for 30 s
 */
export async function openOnHub(
  { file, hub }: CatalogueEntry,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Uint8Array>> {
  const { HF_HUB_OFFLINE: offline, HF_ENDPOINT: endpoint } = process.env;
  if (offline && offline !== '0') throw new Error('HF_HUB_OFFLINE is set');
  try {
    const blob = await downloadFile({
      repo: hub.repo,
      revision: hub.revision,
      path: file,
      fetch: (url, init) => fetchWithPatience(url, init, signal),
      ...(endpoint ? { hubUrl: endpoint.replace(/\/$/, '') } : {}),
    });
    if (blob === null) throw new Error(`${hub.repo} holds no ${file}`);
    return withPatience(blob.stream());
  } catch (error) {
    throw new Error(describe(error));
  }
}

async function fetchWithPatience(
  url: Parameters<typeof fetch>[0],
  init: RequestInit | undefined,
  signal: AbortSignal | undefined,
): Promise<Response> {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(new Error('no answer')), patienceMilliseconds.answer);
  try {
    return await fetch(url, { ...init, signal: signal ? AbortSignal.any([patience.signal, signal]) : patience.signal });
  } finally {
    clearTimeout(timer);
  }
}

async function* withPatience(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      let timer: NodeJS.Timeout | undefined;
      const silence = new Promise<never>((_, reject) => {
        timer = setTimeout(
          () => reject(new Error(`nothing came for ${patienceMilliseconds.data / 1000} s`)),
          patienceMilliseconds.data,
        );
      });
      const { done, value } = await Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer));
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

/** fetch() says 'fetch failed' and hides the reason in `cause`. */
function describe(error: unknown): string {
  const { message, cause } = error as Error & { cause?: { code?: string; message?: string } };
  const reason = cause?.code ?? cause?.message;
  return (reason === undefined ? message : `${message}, ${reason}`).split('\n')[0]!;
}
