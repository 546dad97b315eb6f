/** How long a study would take on a mesh, from what it takes on one device. */
import type { Links } from '../distributed/communication.js';
import { meshSize } from '../distributed/mesh_shape.js';
import { planMesh } from '../training/mesh_plan.js';
import { resolveModel } from '../weights/model_files.js';
import type { StudyConfig } from './config.js';
import type { StagePrediction } from './predict.js';

export interface MeshPrediction {
  /** Seconds. */
  generation: number;
  training: number;
  /** Of as many devices that share the work of one without a loss: 1 at best. */
  efficiency: number;
}

/**
 * Generation divides over the replicas, whatever they are spread over: how much faster `tp` writes is not known before it does.
 * Training is {@link planMesh}'s.
 * @param stages on one device
 * @param config of the study on the mesh
 * @throws {UserError} for a mesh that a student or a node cannot be divided into
 */
export async function predictMesh(
  stages: readonly StagePrediction[],
  config: StudyConfig,
  links: Links,
  gpusPerNode: number,
): Promise<MeshPrediction> {
  let [generation, training, alone] = [0, 0, 0];
  for (const { label, arm, seconds, through } of stages) {
    alone += seconds.expected;
    const student = config.students.find(({ name }) => label === `train ${name} ${arm}`);
    if (through === null || student === undefined) {
      generation += seconds.expected / config.mesh.dp;
      continue;
    }
    const files = await resolveModel(student.model);
    files.weights.close();
    const rate = through / seconds.expected;
    training += through / planMesh(files.config, student.training, rate, links, gpusPerNode).tokensPerSecond;
  }
  return { generation, training, efficiency: alone / (generation + training) / meshSize(config.mesh) };
}
