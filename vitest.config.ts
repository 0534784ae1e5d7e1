import { defineConfig } from "vitest/config"
import { BaseSequencer, type TestSpecification } from "vitest/node"

// Makes `import … from "effect-feeder"` mean `src` in tests; users get `dist`.
const conditions = ["effect-feeder:source"]

/** Those that take longest: begun last, one of them would be waited for alone. */
const longest = [
  "simulation/mutations",
  "chaos/chaos",
  "layers/SocketDevices.laws",
  "layers/SocketDevices.test",
  "layers/WorkerDevices.test",
  "examples/fourWays",
  "layers/JetStreamDevices.test",
  "layers/ClusterDevices.processes",
  "layers/stopping",
  "layers/SocketDevices.hosts",
  "layers/WorkerDevices.laws",
  "simulation/simulation",
  "bounded/bounded",
  "sessions"
]

const rank = ({ moduleId }: TestSpecification): number => {
  const index = longest.findIndex((name) => moduleId.includes(`/test/${name}`))
  return index < 0 ? longest.length : index
}

class LongestFirst extends BaseSequencer {
  override sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    return Promise.resolve(files.toSorted((a, b) => rank(a) - rank(b)))
  }
}

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    testTimeout: 30_000,
    // Most of them wait for processes and sockets more than they compute.
    maxWorkers: 3,
    sequence: { sequencer: LongestFirst },
    reporters: process.env["CI"] ? ["default", ["json", { outputFile: ".reports/unit.json" }]] : ["default"]
  }
})
