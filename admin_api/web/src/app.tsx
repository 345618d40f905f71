// The frame around every page: who is signed in, where one can go, and what is wrong just now.
import { signal } from "@preact/signals";
import type { ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { resume, session, signOut } from "./api";
import { clock } from "./format";
import { asOf, gatewayDown, serviceDown, start, stop } from "./live";
import { ActivityPage } from "./pages/activity";
import { AlertsPage } from "./pages/alerts";
import { CachePage } from "./pages/cache";
import { CostPage } from "./pages/cost";
import { ExportsPage } from "./pages/exports";
import { JournalPage } from "./pages/journal";
import { LimitsPage } from "./pages/limits";
import { ObjectsPage } from "./pages/objects";
import { OverviewPage } from "./pages/overview";
import { QuotasPage } from "./pages/quotas";
import { SettingsPage } from "./pages/settings";
import { SignIn } from "./pages/signin";
import { useResource } from "./resource";
import { page } from "./route";
import { choose, type Theme, theme } from "./theme";
import type { Overview } from "./types";
import { hush, Notices } from "./ui/action";

interface Place {
  name: string;
  title: string;
  view: ComponentType;
}

const PLACES: Place[] = [
  { name: "overview", title: "Overview", view: OverviewPage },
  { name: "exports", title: "Exports", view: ExportsPage },
  { name: "quotas", title: "Quotas", view: QuotasPage },
  { name: "limits", title: "Limits", view: LimitsPage },
  { name: "cache", title: "Cache", view: CachePage },
  { name: "journal", title: "Journal", view: JournalPage },
  { name: "objects", title: "Objects", view: ObjectsPage },
  { name: "activity", title: "Activity", view: ActivityPage },
  { name: "cost", title: "Cost", view: CostPage },
  { name: "alerts", title: "Alerts", view: AlertsPage },
  { name: "settings", title: "Settings", view: SettingsPage },
];

const menuOpen = signal(false);

function ThemeSwitch() {
  return (
    <label class="theme">
      <span class="hidden">Colours</span>
      <select value={theme.value} onChange={(event) => choose(event.currentTarget.value as Theme)}>
        <option value="system">System colours</option>
        <option value="light">Light</option>
        <option value="dark">Dark</option>
      </select>
    </label>
  );
}

/** What everybody must know before they believe a figure. */
function Banner() {
  const why = serviceDown.value ?? gatewayDown.value;
  if (why === null) return null;
  const who =
    serviceDown.value !== null ? "The admin service does not answer." : "The gateway does not answer.";
  const at = asOf.value;
  return (
    <div class="banner" role="alert">
      <strong>{who}</strong>{" "}
      {at === null ? "Nothing is known of it yet." : `Figures are those of ${clock(at)}.`} Nothing can be
      changed until it is back.
      {serviceDown.value === null && <span class="banner-why">{why}</span>}
    </div>
  );
}

function Navigation() {
  return (
    <nav id="pages" class={menuOpen.value ? "open" : ""} aria-label="Pages">
      <ul>
        {PLACES.map(({ name, title }) => (
          <li key={name}>
            <a
              href={`#/${name}`}
              aria-current={page.value === name ? "page" : undefined}
              onClick={() => {
                menuOpen.value = false;
              }}
            >
              {title}
            </a>
          </li>
        ))}
      </ul>
      <ThemeSwitch />
    </nav>
  );
}

function Top({ host }: { host: string }) {
  const mine = session.value;
  return (
    <header class="top">
      <button
        type="button"
        class="menu"
        aria-expanded={menuOpen.value}
        aria-controls="pages"
        onClick={() => {
          menuOpen.value = !menuOpen.value;
        }}
      >
        Menu
      </button>
      <a class="brand" href="#/overview">
        <span class="mark" aria-hidden="true" />
        Caudal
      </a>
      <span class="host">{host}</span>
      <div class="who">
        <ThemeSwitch />
        <span class="name">
          {mine?.name} <span class="muted">{mine?.role}</span>
        </span>
        <button type="button" onClick={() => void signOut()}>
          Sign out
        </button>
      </div>
    </header>
  );
}

function Shell() {
  const overview = useResource<Overview>("overview", 60);
  const main = useRef<HTMLElement>(null);
  const shown = PLACES.find(({ name }) => name === page.value) ?? PLACES[0];
  const host = overview.data?.host ?? "";
  useEffect(() => {
    start();
    return stop;
  }, []);
  useEffect(() => {
    document.title = `${shown?.title ?? ""} · ${host || "Caudal"}`;
    scrollTo(0, 0);
    hush();
  }, [shown, host]);
  if (!shown) return null;
  return (
    <>
      <button type="button" class="skip" onClick={() => main.current?.focus()}>
        Skip to the page
      </button>
      <Top host={host} />
      <div class="frame">
        <Navigation />
        <main id="content" ref={main} tabIndex={-1}>
          <Banner />
          <shown.view key={shown.name} />
        </main>
      </div>
      <Notices />
    </>
  );
}

export function App() {
  useEffect(() => {
    void resume().catch(() => {
      session.value = null;
    });
  }, []);
  if (session.value === undefined) return <p class="starting muted">Loading …</p>;
  return session.value === null ? <SignIn /> : <Shell />;
}
