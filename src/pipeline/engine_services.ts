/** The services of a study on the real engine and trainer. Imports the addon: load it only when there is work. */
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { meshSize } from '../distributed/mesh_shape.js';
import { Replicas } from '../distributed/replicas.js';
import type { LeadingProcess } from '../distributed/run_threads.js';
import { Engine } from '../engine/engine.js';
import type { RequestServer } from '../engine/request_server.js';
import { UserError } from '../errors.js';
import { type LoadedModel, loadModel } from '../nn/load.js';
import { Device } from '../tensor/device.js';
import type { TextOptions } from '../text/text_options.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { adapterTokens, loadAdapter, readAdapterSettings } from '../training/adapter_files.js';
import { removeAdapters } from '../training/lora_modules.js';
import { train } from '../training/train.js';
import { type ModelFiles, resolveModel } from '../weights/model_files.js';
import type { StudyConfig } from './config.js';
import { measureRates } from './measure.js';
import { measureTraining } from './measure_training.js';
import { numericsOf } from './numerics.js';
import type { OpenModel, Services, TextRequest, TextTokenizer } from './services.js';
import { trainTask } from './study_tasks.js';
import { textOf } from './text_of.js';

/** Prompts that are enough to know how fast an engine is. */
const mostTried = 16;

/** One model at a time is in memory; the same base with another adapter is not loaded again, unless replicas have it. */
interface Opened {
  model: string;
  adapter: string | undefined;
  /** The adapter has put modules of its own, or its chat template, in place of the base's. */
  replaced: boolean;
  /** The model itself; null where replicas have it. */
  loaded: LoadedModel | null;
  files: ModelFiles;
  engine: RequestServer<unknown>;
  /** That opening it took. */
  seconds: number;
  close(): Promise<void>;
}

function plainTokenizer(tokenizer: Tokenizer): TextTokenizer {
  return {
    encode: (text) => tokenizer.encode(text, { addSpecialTokens: false }),
    decode: (tokens) => tokenizer.decode(tokens),
  };
}

function needTokenizer(model: string, tokenizer: Tokenizer | null): Tokenizer {
  if (tokenizer !== null) return tokenizer;
  throw new UserError(`Expected model '${model}' to have a tokenizer; put tokenizer.json into its folder`);
}

/**
 * @param note is told how the memory of each opened model is used
 * @param leader where the mesh is that of several processes. Default: all is in this one
 */
export function createEngineServices(
  config: Pick<StudyConfig, 'device' | 'dtype' | 'threads' | 'engine' | 'mesh'>,
  note: (line: string) => void = () => {},
  leader: LeadingProcess | null = null,
): Services {
  const deviceOptions = config.threads === undefined ? {} : { threads: config.threads };
  const described = new Map<string, ReturnType<typeof describeModel>>();
  let current: Opened | null = null;
  const told = new Set<string>();
  /** Once: a model is opened again and again. */
  const tell = (line: string) => {
    if (!told.has(line)) note(line);
    told.add(line);
  };
  const parallel = meshSize(config.mesh) > 1;

  // For the models that the study names; a trained student is known by the identity of its training.
  const describe = (model: string) => {
    const known = described.get(model) ?? describeModel(model);
    described.set(model, known);
    return known;
  };

  const close = async (): Promise<void> => {
    const closing = current;
    current = null;
    await closing?.close();
  };

  const load = async (model: string, text: TextOptions = {}, adapter?: string): Promise<Opened> => {
    await close();
    const begin = performance.now();
    const opened = await (parallel ? openReplicas(model, text, adapter) : openHere(model, text));
    tell(opened.engine.startupReport());
    const seconds = (performance.now() - begin) / 1000;
    current = { model, adapter: parallel ? adapter : undefined, replaced: false, seconds, ...opened };
    return current;
  };

  const openHere = async (model: string, text: TextOptions) => {
    const device = Device.open(config.device, deviceOptions);
    try {
      const loaded = await loadModel(model, { device, dtype: config.dtype, text });
      const engine = Engine.create(loaded, config.engine);
      const close = async () => {
        await engine.close();
        loaded.model.dispose();
        await device.close();
      };
      return { loaded, files: loaded.files, engine, close };
    } catch (error) {
      await device.close();
      throw error;
    }
  };

  const openReplicas = async (model: string, text: TextOptions, adapter: string | undefined) => {
    const { device, dtype, mesh, threads = availableParallelism() } = config;
    const files = await resolveModel(model, text);
    files.weights.close();
    const setup = { model, text, adapter, device, dtype, threads, engine: config.engine };
    const engine = await Replicas.create(mesh, setup, leader);
    return { loaded: null, files, engine, close: () => engine.close() };
  };

  let known: Promise<string> | null = null;
  const numerics = (): Promise<string> => {
    known ??= (async () => {
      const device = Device.open(config.device, deviceOptions);
      try {
        // Over how many ranks a sum is divided decides its last bits; how many replicas there are does not.
        const bits = await numericsOf(device, config.dtype);
        return config.mesh.tp > 1 ? `${bits} tp ${config.mesh.tp}` : bits;
      } finally {
        await device.close();
      }
    })();
    return known;
  };

  return {
    fingerprint: async (model) => (await describe(model)).fingerprint,
    tokenizer: async (model) => plainTokenizer(needTokenizer(model, (await describe(model)).tokenizer)),
    async open(model, { adapter } = {}) {
      if (current?.model === model && current.adapter === adapter) return openModel(model, current);
      const text = adapter === undefined ? null : await ownText(adapter, (await describe(model)).template);
      // What was replaced does not come back, and added tokens need a larger table.
      const shares = !parallel && current?.model === model && !current.replaced && text === null;
      const opened = shares ? current! : await load(model, text ?? {}, adapter);
      if (opened.loaded !== null) {
        if (adapter === undefined) removeAdapters(opened.loaded.model);
        else await loadAdapter(adapter, opened.loaded.model);
        Object.assign(opened, { adapter, replaced: text !== null });
      }
      return openModel(model, opened);
    },
    async train(settings, options) {
      await close(); // The trainer loads the model itself; two of them need not fit.
      leader?.task(trainTask, settings);
      const processes = leader?.group ?? null;
      const { steps, trainedTokens, seconds, finalLoss } = await train(settings, { ...options, processes });
      return { steps, trainedTokens, seconds, finalLoss, devices: meshSize(settings.mesh) };
    },
    async machine() {
      const device = Device.open(config.device, deviceOptions);
      const { threads, instructionSet } = device.statistics();
      await device.close();
      const devices = parallel ? { Devices: meshSize(config.mesh) } : {};
      return { Threads: threads, 'Instruction set': instructionSet, ...devices, Numerics: await numerics() };
    },
    numerics,
    async measure(model, { prompts, behind, batch }) {
      const here = current?.model === model && current.adapter === undefined && !current.replaced;
      const { engine, files, seconds } = here ? current! : await load(model);
      const tokenizer = plainTokenizer(needTokenizer(model, files.tokenizer));
      const tried = (tokens: number) =>
        prompts.slice(0, mostTried).map((messages) => ({
          prompt: messages,
          continuation: textOf(tokenizer, messages.at(-1)!.content, tokens),
        }));
      for (let tokens = behind; ; tokens = Math.floor(tokens / 2)) {
        try {
          return { ...(await measureRates(engine, tried(tokens), batch)), load: seconds };
        } catch (error) {
          if (tokens === 0) throw error; // The context does not even hold the prompts.
        }
      }
    },
    async measureTraining(settings, work) {
      await close();
      const { tokenizer } = await describe(settings.model);
      const text = plainTokenizer(needTokenizer(settings.model, tokenizer));
      if (leader === null) return measureTraining(settings, text, work);
      // This process tries out its share, and the others are taken to be as fast.
      const { size } = leader.group;
      const dp = settings.mesh.dp / size;
      const own = { ...settings, mesh: { ...settings.mesh, dp }, fullyShard: settings.fullyShard && dp > 1 };
      const { tokensPerSecond, ...rates } = await measureTraining(own, text, work);
      return { ...rates, tokensPerSecond: size * tokensPerSecond };
    },
    close,
  };
}

async function describeModel(model: string) {
  const files = await resolveModel(model);
  files.weights.close();
  return { fingerprint: files.fingerprint, tokenizer: files.tokenizer, template: files.chatTemplate?.source };
}

/** What an adapter needs its base to be opened with; null where that is the base as it is, which other adapters may share. */
async function ownText(adapter: string, baseTemplate: string | undefined): Promise<TextOptions | null> {
  const { modulesToSave } = (await readAdapterSettings(adapter)).settings;
  const chatTemplate = join(adapter, 'chat_template.jinja');
  const template = await readFile(chatTemplate, 'utf8').catch(() => baseTemplate);
  if (modulesToSave.length === 0 && template === baseTemplate) return null;
  return {
    addedTokens: await adapterTokens(adapter),
    ...(template !== baseTemplate && { chatTemplate }),
  };
}

function openModel(name: string, { files, engine }: Opened): OpenModel {
  const { chatTemplate, tokenizer } = files;
  if (chatTemplate === null) {
    throw new UserError(`Expected model '${name}' to have a chat template; put chat_template.jinja into its folder`);
  }
  return {
    tokenizer: plainTokenizer(needTokenizer(name, tokenizer)),
    render: (messages, continuation) => chatTemplate.render(messages, { addGenerationPrompt: true }) + continuation,
    generate: (requests, { signal }) => engine.generate(toEngineRequests(requests), { signal }),
    status: () => {
      const { tokensPerSecond, kvUse } = engine.statistics();
      return `${Math.round(tokensPerSecond)} tokens/s · KV ${Math.round(kvUse * 100)} %`;
    },
    deviceSeconds: () => engine.statistics().busySeconds,
  };
}

function* toEngineRequests(requests: Iterable<TextRequest>) {
  for (const request of requests) yield toEngine(request);
}

function toEngine({ id, messages, continuation, sampling }: TextRequest) {
  const given = Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== undefined));
  return { id, prompt: messages, sampling: given, ...(continuation === '' ? {} : { continuation }) };
}
