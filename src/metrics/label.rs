//! Metrics with one label whose values are those of an enum: each is made at the start, and found by its place.

use std::{marker::PhantomData, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// An enum whose values are those of a label.
pub trait Label: Copy + 'static {
    /// The name of the label.
    const NAME: &'static str;
    /// All values, each at its place.
    const ALL: &'static [Self];

    /// The value as it is exposed.
    fn as_str(self) -> &'static str;

    /// The place among all values.
    fn place(self) -> usize;
}

/// Declares an enum that is a label, each value with its name.
macro_rules! label {
    ($(#[$doc:meta])* $vis:vis $label:ident as $name:literal { $($(#[$of:meta])* $value:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $vis enum $label {
            $($(#[$of])* $value,)*
        }

        impl $crate::metrics::label::Label for $label {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value,)*];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }

            fn place(self) -> usize {
                self as usize
            }
        }
    };
}
pub(crate) use label;

/// Counters by a label.
#[derive(Clone, Debug)]
pub struct Counters<L>(Vec<IntCounter>, PhantomData<L>);

impl<L: Label> Counters<L> {
    pub(super) fn new(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
        let all = IntCounterVec::new(Opts::new(name, help), &[L::NAME])?;
        registry.register(Box::new(all.clone()))?;
        let of = |label: &L| all.get_metric_with_label_values(&[label.as_str()]);
        Ok(Self(L::ALL.iter().map(of).collect::<Result<_, _>>()?, PhantomData))
    }

    /// Counts one.
    pub fn count(&self, label: L) {
        self.add(label, 1);
    }

    /// Counts so many.
    pub fn add(&self, label: L, number: u64) {
        if let Some(counter) = self.0.get(label.place()) {
            counter.inc_by(number);
        }
    }
}

/// Gauges by a label.
#[derive(Clone, Debug)]
pub struct Gauges<L>(Vec<IntGauge>, PhantomData<L>);

impl<L: Label> Gauges<L> {
    pub(super) fn new(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
        let all = IntGaugeVec::new(Opts::new(name, help), &[L::NAME])?;
        registry.register(Box::new(all.clone()))?;
        let of = |label: &L| all.get_metric_with_label_values(&[label.as_str()]);
        Ok(Self(L::ALL.iter().map(of).collect::<Result<_, _>>()?, PhantomData))
    }

    /// The gauge of a value.
    pub fn of(&self, label: L) -> Option<&IntGauge> {
        self.0.get(label.place())
    }
}

/// Histograms of seconds by a label.
#[derive(Clone, Debug)]
pub(super) struct Histograms<L>(Vec<Histogram>, PhantomData<L>);

impl<L: Label> Histograms<L> {
    pub(super) fn new(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Self> {
        let all = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[L::NAME])?;
        registry.register(Box::new(all.clone()))?;
        let of = |label: &L| all.get_metric_with_label_values(&[label.as_str()]);
        Ok(Self(L::ALL.iter().map(of).collect::<Result<_, _>>()?, PhantomData))
    }

    /// Observes what took so long.
    pub(super) fn observe(&self, label: L, time: Duration) {
        if let Some(histogram) = self.0.get(label.place()) {
            histogram.observe(time.as_secs_f64());
        }
    }
}
