/**
 * Coordinator as a pure model: a tree of nodes, each with its fibers, and a clock that goes from one event to the next.
 * A fiber or join without an end is still there.
 */
export type Kind = "ends" | "fails" | "dies" | "waits" | "slow" | "stuck" | "stuckFails" | "failsLate"

/** `at` is when it ends by itself, or `takes` after its interruption. */
export interface Work {
  readonly name: string
  readonly kind: Kind
  readonly takes: number
  at: number
  isInterrupted: boolean
}

interface Join {
  readonly id: number
  readonly grace: number
  until: number
}

export class Node {
  readonly children: Array<Node> = []
  running: Array<Work> = []
  joins: Array<Join> = []
  readonly late: Array<string> = []
  /** What it stopped for: the name of a cause, or "" for a clean stop. */
  first: string | undefined
  answer: string | undefined
}

export class CoordinatorModel {
  now = 0
  readonly nodes = [new Node()]
  readonly answers = new Map<number, string>()

  child(of: Node): void {
    const node = new Node()
    this.nodes.push(node)
    of.children.push(node)
    if (of.first !== undefined) this.stop(node, of.first)
  }

  fork(node: Node, name: string, kind: Kind, takes: number): void {
    const isTimed = kind !== "waits" && kind !== "slow" && kind !== "failsLate"
    const work = { name, kind, takes, at: isTimed ? this.now + takes : Infinity, isInterrupted: false }
    if (node.first === undefined) node.running.push(work)
  }

  /** The first stop of a node counts. All of the tree knows of it before anything is interrupted. */
  stop(node: Node, why: string): boolean {
    const tree: Array<Node> = []
    const mark = (node: Node): void => {
      if (node.first !== undefined) return
      node.first = why
      tree.push(node)
      node.children.forEach(mark)
    }
    mark(node)
    for (const each of tree) for (const work of each.running) this.interrupt(each, work)
    for (const each of tree) {
      for (const join of each.joins) join.until = this.now + join.grace
      this.rest(each)
    }
    return tree.length > 0
  }

  interrupt(node: Node, work: Work): void {
    if (work.isInterrupted || work.kind === "stuck" || work.kind === "stuckFails") return
    work.isInterrupted = true
    if (work.kind === "slow") work.at = this.now + work.takes
    else this.end(node, work, work.kind === "failsLate")
  }

  end(node: Node, work: Work, hasFailed: boolean): void {
    node.running = node.running.filter((other) => other !== work)
    if (hasFailed && !this.stop(node, work.name)) node.late.push(work.name)
    this.rest(node)
  }

  join(node: Node, id: number, grace: number): void {
    node.joins.push({ id, grace, until: node.first === undefined ? Infinity : this.now + grace })
    this.rest(node)
  }

  rest(node: Node): void {
    if (node.running.length === 0 || node.answer !== undefined) this.settle(node)
  }

  /** Answers all joins: of a stopped node the same for ever. */
  settle(node: Node): void {
    const left = node.running.map(({ name }) => name).join()
    const answer = node.answer ?? (node.first || (left === "" ? "done" : `left: ${left}`))
    if (node.first !== undefined) node.answer = answer
    for (const { id } of node.joins.splice(0)) this.answers.set(id, answer)
  }

  pass(millis: number): void {
    const end = this.now + millis
    while (true) {
      const events = this.nodes.flatMap((node) => [
        ...node.running.map((work) => ({ node, work, at: work.at })),
        ...node.joins.map(({ until }) => ({ node, work: undefined, at: until }))
      ]).filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)
      const [event] = events
      this.now = event?.at ?? end
      if (event === undefined) return
      const { node, work } = event
      if (work === undefined) this.settle(node)
      else this.end(node, work, /fails|dies/i.test(work.kind))
    }
  }
}
