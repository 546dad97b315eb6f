/** A study on a tiny model from its start to its report, adapters trained by two ranks in threads: what a version of Node must do. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseStudyConfig } from '../../src/pipeline/config.js';
import { createEngineServices } from '../../src/pipeline/engine_services.js';
import { runStudy } from '../../src/pipeline/run.js';
import { tinyStudy } from './tiny_study.js';

const folder = mkdtempSync(join(tmpdir(), 'smoke-'));
process.env.COMPRESS_DISTILL_CACHE = join(folder, 'cache');
const study = tinyStudy(folder, 'run');
const [adapted] = study.students;
const training = { ...adapted!.training, mesh: { dp: 2, tp: 1 } };
const config = parseStudyConfig({ ...study, students: [{ ...adapted, arms: ['raw', 'answer-only'], training }] });
const services = createEngineServices(config);
const { data } = await runStudy(config, { services });
await services.close();
rmSync(folder, { recursive: true });
console.log(`${process.version}: ${data!.students[0]!.arms.length} arms`);
