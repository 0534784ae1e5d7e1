/** stub until the real one lands */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
export const make = (o: { limit?: number; initDelay?: Duration.Input } = {}): Schedule.Schedule<unknown, unknown> => Schedule.exponential(o.initDelay ?? "5 seconds").pipe(Schedule.upTo({ times: (o.limit ?? 5) - 1 }))
