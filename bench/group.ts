/** The process of one group: what ran before it in another has not warmed, or worn, what is measured here. */
import { groups } from "./groups/index.ts"
import type { GroupReply, GroupRequest } from "./messages.ts"

const reply = (message: GroupReply): void => {
  process.send?.(message)
}

const run = async (request: GroupRequest): Promise<void> => {
  const group = groups.find(({ name }) => name === request.group)
  await group?.run(request.rows, request.options, {
    row: (row) => reply({ _tag: "Row", row }),
    measured: (side, isOurs) => reply({ _tag: "Measured", side, isOurs }),
    progress: (text) => reply({ _tag: "Progress", text })
  })
}

process.on("message", (request: GroupRequest) => {
  run(request).then(
    () => reply({ _tag: "Ended", failed: undefined }),
    (error: unknown) =>
      reply({ _tag: "Ended", failed: error instanceof Error ? error.stack ?? error.message : String(error) })
  )
})

// What was started ends when the process exits.
process.on("disconnect", () => process.exit())
process.on("SIGTERM", () => process.exit(1))
