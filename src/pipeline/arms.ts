/** The arms of a study: for each, which questions it trains on and with which reasoning. */
import type { Question } from '../data/questions.js';
import { UserError } from '../errors.js';
import type { StudyConfig } from './config.js';
import { chat } from './messages.js';
import { fillTemplate } from './prompt_template.js';
import type { ChatMessage } from './services.js';
import type { Traces } from './traces.js';

/** The reasoning of an arm, read when it is asked for; null where the arm has none (answer-only). */
export interface ArmReasoning {
  has(id: string): boolean;
  readonly size: number;
  reasoning(id: string): string | null;
}

export function withoutReasoning(ids: ReadonlySet<string>): ArmReasoning {
  return { has: (id) => ids.has(id), size: ids.size, reasoning: () => null };
}

/** A row of training data. */
export interface TrainingRow {
  id: string;
  messages: ChatMessage[];
}

/** What an arm trains on; its rows are made when they are asked for, as often as they are. */
export interface ArmData {
  size: number;
  rows(): Generator<TrainingRow>;
}

/**
 * The training rows of every arm, in the order of the traces.
 * With `matched`, the questions that are usable in all arms: arms then differ in their targets alone.
 * @throws {UserError} when nothing is left
 */
export function armRows(
  config: StudyConfig,
  traces: Traces,
  arms: ReadonlyMap<string, ArmReasoning>,
): Map<string, ArmData> {
  const everywhere = traces.questions.filter(({ id }) => [...arms.values()].every((arm) => arm.has(id)));
  const data = new Map<string, ArmData>();
  for (const [arm, reasoning] of arms) {
    const usable = config.matched ? everywhere : traces.questions.filter(({ id }) => reasoning.has(id));
    if (usable.length === 0) {
      const sizes = [...arms].map(([name, of]) => `${name} ${of.size}`).join(', ');
      throw new UserError(
        `Stage 'train' has no question for arm '${arm}' (usable: ${sizes}); ${config.matched ? "set 'matched: false' or " : ''}have more traces compressed`,
      );
    }
    data.set(arm, {
      size: usable.length,
      *rows() {
        for (const question of usable) yield trainingRow(config, traces, question, reasoning.reasoning(question.id));
      },
    });
  }
  return data;
}

function trainingRow(
  config: StudyConfig,
  { source }: Traces,
  question: Question,
  reasoning: string | null,
): TrainingRow {
  const { target } = config;
  const thought = reasoning === null ? '' : fillTemplate(target.reasoning, { reasoning });
  const response = target.answer.includes('response') ? source.row(question.id).final : '';
  const content = thought + fillTemplate(target.answer, { answer: question.answer, response });
  return { id: question.id, messages: [...studentPrompt(config, question), { role: 'assistant', content }] };
}

/** What a student is asked, in training and in evaluation alike. */
export function studentPrompt({ target }: StudyConfig, question: Question): ChatMessage[] {
  return chat(target.system, target.prompt, { question: question.question });
}
