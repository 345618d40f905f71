// What a page has read of the service: kept while it is read again, so that nothing jumps.
import { useEffect, useRef, useState } from "preact/hooks";
import { Problem, read } from "./api";

export interface Resource<T> {
  data: T | undefined;
  problem: Problem | undefined;
  reload: () => Promise<void>;
}

function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem(0, "failed", String(error));
}

/** Reads by `load`, again every so many seconds (0: not) and when `key` changes. */
export function useLoaded<T>(key: string, load: () => Promise<T>, everyS = 0): Resource<T> {
  const [data, setData] = useState<T | undefined>(undefined);
  const [problem, setProblem] = useState<Problem | undefined>(undefined);
  const turn = useRef(0);
  const latest = useRef(load);
  latest.current = load;

  async function reload(): Promise<void> {
    turn.current += 1;
    const mine = turn.current;
    try {
      const found = await latest.current();
      if (mine !== turn.current) return;
      setData(found);
      setProblem(undefined);
    } catch (error) {
      if (mine === turn.current) setProblem(asProblem(error));
    }
  }
  useEffect(() => {
    setData(undefined);
    setProblem(undefined);
    void reload();
    const timer = everyS > 0 ? setInterval(() => document.hidden || void reload(), everyS * 1000) : undefined;
    return () => {
      turn.current += 1;
      clearInterval(timer);
    };
  }, [key, everyS]);
  return { data, problem, reload };
}

export function useResource<T>(path: string, everyS = 0): Resource<T> {
  return useLoaded(path, () => read<T>(path), everyS);
}
