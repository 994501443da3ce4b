//! Random lives of three instances against a plain sum: whatever they, their line and Redis go through, no more is
//! held and used together than the ceiling, and in the end all that is left can be had by one of them.

use std::cell;
use std::cell::RefCell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use super::*;

const CEILING: u64 = 10_000;
const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Hold {
        at: usize,
        amount: u64,
    },
    Post {
        which: usize,
        permille: u64,
    },
    Void {
        which: usize,
    },
    /// The instance dies and is started again from its journal, which charges what it held.
    Crash {
        at: usize,
    },
    /// Redis loses everything.
    Flush,
    /// The line of one instance breaks with its answers on the way.
    Break {
        at: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..NAMES.len();
    let step = prop_oneof![
        16 => (at(), 1u64..1_500).prop_map(|(at, amount)| Step::Hold { at, amount }),
        8 => (any::<usize>(), 0u64..=1_000).prop_map(|(which, permille)| Step::Post { which, permille }),
        4 => any::<usize>().prop_map(|which| Step::Void { which }),
        1 => at().prop_map(|at| Step::Crash { at }),
        1 => Just(Step::Flush),
        1 => at().prop_map(|at| Step::Break { at }),
    ];
    proptest::collection::vec(step, 1..40)
}

struct Held {
    at: usize,
    amount: u64,
    reservation: Reservation,
}

struct World {
    redis: Redis,
    lines: Vec<Line>,
    instances: Vec<Instance>,
    /// What each has used, as its journal would say.
    used: [u64; 3],
    held: Vec<Held>,
}

impl World {
    async fn new() -> Self {
        let redis = Redis::start(&[]).await;
        let (mut lines, mut instances) = (Vec::new(), Vec::new());
        for name in NAMES {
            let line = Line::to(redis.port).await;
            instances.push(Instance::start(&line.url(), name).await);
            lines.push(line);
        }
        Self { redis, lines, instances, used: [0; 3], held: Vec::new() }
    }

    async fn run(&mut self, step: &Step) {
        match *step {
            Step::Hold { at, amount } => {
                if let Ok(reservation) = self.instances[at].hold(&[(DAY, amount, CEILING)]).await {
                    self.held.push(Held { at, amount, reservation });
                }
            }
            Step::Post { which, permille } => {
                if let Some(Held { at, amount, reservation }) = self.end(which) {
                    let cost = amount * permille / 1_000;
                    post(reservation, cost);
                    self.used[at] += cost;
                }
            }
            Step::Void { which } => {
                if let Some(held) = self.end(which) {
                    held.reservation.void();
                }
            }
            Step::Crash { at } => {
                let (dead, others) =
                    std::mem::take(&mut self.held).into_iter().partition(|held| held.at == at);
                self.held = others;
                self.used[at] += dead.iter().map(|held: &Held| held.amount).sum::<u64>();
                let tenant = self.instances[at].tenant.clone();
                self.instances.remove(at).crash().await;
                let url = self.lines[at].url();
                let back = Instance::start_having_used(&url, NAMES[at], &tenant, self.used[at]).await;
                self.instances.insert(at, back);
            }
            Step::Flush => self.redis.command(&["FLUSHALL"]).await,
            Step::Break { at } => {
                self.lines[at].set(Fault::AnswersLost);
                drop(self.instances[at].hold(&[(DAY, 700, CEILING)]).await.map(Reservation::void));
                self.lines[at].set(Fault::Reset);
                // A line that were whole again before it was seen to break would have lost answers in its middle.
                let link = &self.instances[at].link;
                support::read::until("the link is lost", || !link.is_up()).await;
                self.lines[at].set(Fault::None);
            }
        }
    }

    fn end(&mut self, which: usize) -> Option<Held> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(which % self.held.len()))
    }

    fn taken(&self) -> u64 {
        self.used.iter().sum::<u64>() + self.held.iter().map(|held| held.amount).sum::<u64>()
    }

    /// Lives through these steps, each time with another tenant's budget.
    async fn live(&mut self, tenant: &str, steps: &[Step]) -> Result<(), TestCaseError> {
        self.used = [0; 3];
        for instance in &mut self.instances {
            tenant.clone_into(&mut instance.tenant);
        }
        for step in steps {
            self.run(step).await;
            prop_assert!(self.taken() <= CEILING, "{} are taken after {step:?}", self.taken());
        }
        for held in self.held.drain(..) {
            held.reservation.void();
        }
        let left = CEILING - self.taken();
        if left > 0 {
            granted(&self.instances[0], &[(DAY, left, CEILING)]).await.void();
            let more = self.instances[1].hold(&[(DAY, left + 1, CEILING)]).await;
            prop_assert!(more.map(Reservation::void).is_err(), "one more than is left");
        }
        Ok(())
    }
}

#[test]
fn nothing_that_befalls_instances_or_redis_exceeds_a_ceiling_or_loses_what_is_left_of_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let world = RefCell::new(runtime.block_on(World::new()));
    let lives = cell::Cell::new(0);
    let config = Config { cases: 12, max_shrink_iters: 0, failure_persistence: None, ..Config::default() };
    proptest!(config, |(steps in steps())| {
        lives.set(lives.get() + 1);
        let tenant = format!("tenant-{}", lives.get());
        runtime.block_on(world.borrow_mut().live(&tenant, &steps))?;
    });
}
