/**
 * How workers end, and what is wrong with the way they are told to start.
 */
import * as Schema from "effect/Schema"

const TypeId = "~effect-feeder/layers/WorkerDevices"

/**
 * A worker ended, or was ended, before its feed had. `how` it ended:
 *
 * * `exit`: by itself, with `code` or `signal`.
 * * `error`: nobody caught `cause`.
 * * `memory`: it needed more memory than it may have.
 * * `blocked`: its event loop did not turn for `millis`.
 * * `silent`: it had hosted no feed `millis` after its start.
 * * `start`: it could not be started, because of `cause`.
 *
 * @category errors
 * @since 0.1.0
 */
export class WorkerEnded extends Schema.Error<WorkerEnded>(`${TypeId}/WorkerEnded`)({
  _tag: Schema.tag("WorkerEnded"),
  /** The device that it was, its file, and what it ran as: `thread 3`, `process 4711`. */
  device: Schema.String,
  worker: Schema.String,
  ran: Schema.String,
  how: Schema.Literals(["exit", "error", "memory", "blocked", "silent", "start"]),
  code: Schema.optional(Schema.Number),
  signal: Schema.optional(Schema.String),
  millis: Schema.optional(Schema.Number),
  cause: Schema.optional(Schema.Defect())
}) {
  override get message(): string {
    return `its worker ${this.worker} (${this.ran}) ${howOf(this)}`
  }
}

const howOf = ({ cause, code, how, millis, signal }: WorkerEnded): string => {
  const why = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
  switch (how) {
    case "exit":
      return signal === undefined ? `ended with exit code ${code}` : `was ended by ${signal}`
    case "error":
      return `ended with an error that nothing caught: ${why}`
    case "memory":
      return "ran out of memory; give it more `memoryLimit`, or smaller batches"
    case "blocked":
      return `was ended since its event loop had been blocked for ${millis} ms; ` +
        "let long computations yield, or give `unresponsiveAfter` more time"
    case "silent":
      return `was ended since it hosted no feed within ${millis} ms; does it run \`WorkerDevices.layerHost\`?`
    case "start":
      return `could not be started: ${why}`
  }
}

/**
 * What `WorkerDevices.layer` was given makes no sense, or there is no such worker file.
 *
 * @category errors
 * @since 0.1.0
 */
export class WorkerInvalid extends Schema.Error<WorkerInvalid>(`${TypeId}/WorkerInvalid`)({
  _tag: Schema.tag("WorkerInvalid"),
  worker: Schema.String,
  issue: Schema.String
}) {
  override get message(): string {
    return `the worker "${this.worker}" cannot be run: ${this.issue}; ` +
      `give its file, such as new URL("./consumer.ts", import.meta.url)`
  }
}

/**
 * `WorkerDevices.layerHost`, or `WorkerDevices.device`, is used where `WorkerDevices.layer` has not started the program.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotAWorker extends Schema.Error<NotAWorker>(`${TypeId}/NotAWorker`)({
  _tag: Schema.tag("NotAWorker"),
  issue: Schema.String
}) {
  override get message(): string {
    return `${this.issue}; start it with \`WorkerDevices.layer\`, or host with \`SocketDevices.layerHost\` or \`MemoryDevices\``
  }
}
