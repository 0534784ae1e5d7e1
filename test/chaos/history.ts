/**
 * What consumers record: an event of 24 bytes when an element comes into their hands, and another when it leaves them.
 *
 * An event is written before what it tells of is made known: a process that is killed leaves no acknowledgement behind
 * that is not in its history.
 */
import * as Fs from "node:fs"

export const kinds = ["Handed", "Done", "Refused", "GivenBack"] as const

/** How an element left a consumer's hands, or that it came into them. */
export type Kind = typeof kinds[number]

export interface Event {
  readonly kind: Kind
  readonly n: number
  /** The start of the feeder that it came from. */
  readonly life: number
  readonly ordinal: number
  readonly attempt: number
  readonly redelivered: boolean
  /** The process was stopped, or had no turn, just before: it may have been handed the element before that. */
  readonly isLate: boolean
  /** It does not fit its checksum. */
  readonly isCorrupt: boolean
  /** Milliseconds since the epoch. */
  readonly at: number
}

export const eventBytes = 24

const write = (bytes: Buffer, offset: number, event: Event): void => {
  bytes.writeUInt8(kinds.indexOf(event.kind), offset)
  bytes.writeUInt8((event.redelivered ? 1 : 0) | (event.isLate ? 2 : 0) | (event.isCorrupt ? 4 : 0), offset + 1)
  bytes.writeUInt16LE(Math.min(event.attempt, 0xffff), offset + 2)
  bytes.writeUInt32LE(event.n, offset + 4)
  bytes.writeUInt32LE(event.ordinal, offset + 8)
  bytes.writeUInt32LE(event.life, offset + 12)
  bytes.writeDoubleLE(event.at, offset + 16)
}

export const encode = (events: ReadonlyArray<Event>): Buffer => {
  const bytes = Buffer.alloc(events.length * eventBytes)
  events.forEach((event, i) => write(bytes, i * eventBytes, event))
  return bytes
}

/** What one process recorded. */
export interface Log {
  /** The process: the device, and which of its starts this is. */
  readonly device: number
  readonly launch: number
  readonly bytes: Buffer
}

/** How many events a log has; one that was cut off in the middle is not counted. */
export const length = ({ bytes }: Log): number => Math.floor(bytes.length / eventBytes)

/** The number of the element that an event is about. */
export const nOf = ({ bytes }: Log, index: number): number => bytes.readUInt32LE(index * eventBytes + 4)

export const read = ({ bytes }: Log, index: number): Event => {
  const offset = index * eventBytes
  const flags = bytes.readUInt8(offset + 1)
  return {
    kind: kinds[bytes.readUInt8(offset)] ?? "Handed",
    n: bytes.readUInt32LE(offset + 4),
    life: bytes.readUInt32LE(offset + 12),
    ordinal: bytes.readUInt32LE(offset + 8),
    attempt: bytes.readUInt16LE(offset + 2),
    redelivered: (flags & 1) !== 0,
    isLate: (flags & 2) !== 0,
    isCorrupt: (flags & 4) !== 0,
    at: bytes.readDoubleLE(offset + 16)
  }
}

const nameOf = (device: number, launch: number): string => `consumer-${device}-${launch}.history`

/** Opens the log of a process; what is appended to it outlives the process. */
export const append = (
  directory: string,
  device: number,
  launch: number
): (events: ReadonlyArray<Event>) => void => {
  const file = Fs.openSync(`${directory}/${nameOf(device, launch)}`, "a")
  return (events) => {
    const bytes = encode(events)
    for (let written = 0; written < bytes.length;) written += Fs.writeSync(file, bytes, written)
  }
}

/** The logs in a directory. */
export const logs = (directory: string): ReadonlyArray<Log> =>
  Fs.readdirSync(directory).flatMap((name) => {
    const match = /^consumer-(\d+)-(\d+)\.history$/.exec(name)
    if (match === null) return []
    return [{ device: Number(match[1]), launch: Number(match[2]), bytes: Fs.readFileSync(`${directory}/${name}`) }]
  })
