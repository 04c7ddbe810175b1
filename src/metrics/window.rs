//! The last minute: samples of all metrics, for rates and quantiles where no Prometheus keeps them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::proto::{Metric, MetricFamily};
use tokio::time::Instant;

/// Samples that are kept: with one each [`SAMPLE_EVERY`], those of the last minute.
const KEPT: usize = 13;
/// Time between two samples.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Samples of the last minute.
#[derive(Debug, Default)]
pub(super) struct Window(Mutex<VecDeque<Arc<Sample>>>);

#[derive(Clone, Debug)]
struct Sample {
    at: Instant,
    families: Vec<MetricFamily>,
}

/// The metrics as they are now, and as they were up to a minute ago.
#[derive(Clone, Debug)]
pub struct Recent {
    before: Option<Arc<Sample>>,
    /// The sample of five to ten seconds ago.
    lately: Option<Arc<Sample>>,
    now: Sample,
}

impl Window {
    /// Keeps a sample.
    pub(super) fn push(&self, at: Instant, families: Vec<MetricFamily>) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(Arc::new(Sample { at, families }));
        if samples.len() > KEPT {
            samples.pop_front();
        }
    }

    /// The metrics as they are now, beside those of the oldest sample.
    pub(super) fn until(&self, at: Instant, families: Vec<MetricFamily>) -> Recent {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, lately) = (samples.front().cloned(), samples.iter().rev().nth(1).cloned());
        Recent { before, lately, now: Sample { at, families } }
    }
}

impl Sample {
    /// The series of a metric that have these labels, whatever others they have.
    fn series(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = &Metric> {
        let family = self.families.iter().find(|family| family.name() == name);
        family
            .into_iter()
            .flat_map(MetricFamily::get_metric)
            .filter(move |metric| labels.iter().all(|(name, value)| label(metric, name) == Some(value)))
    }

    /// The sum of these series; of a histogram, the number of what was observed.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let value = |metric: &Metric| {
            metric.get_counter().get_value()
                + metric.get_gauge().get_value()
                + metric.get_histogram().get_sample_count() as f64
        };
        self.series(name, labels).map(value).sum()
    }

    /// The buckets of these series of a histogram: their bounds, and what was observed up to there.
    fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let mut all: Vec<(f64, f64)> = Vec::new();
        for metric in self.series(name, labels) {
            for (place, bucket) in metric.get_histogram().get_bucket().iter().enumerate() {
                let count = bucket.cumulative_count() as f64;
                match all.get_mut(place) {
                    Some((_, sum)) => *sum += count,
                    None => all.push((bucket.upper_bound(), count)),
                }
            }
        }
        all
    }
}

fn label<'m>(metric: &'m Metric, name: &str) -> Option<&'m str> {
    metric.get_label().iter().find(|pair| pair.name() == name).map(|pair| pair.value())
}

impl Recent {
    /// The value now: the sum of the series with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.now.sum(name, labels)
    }

    /// The growth in the time that is looked back on.
    pub fn growth(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.growth_since(self.before.as_deref(), name, labels)
    }

    /// The growth in the last five to ten seconds.
    pub fn growth_lately(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.growth_since(self.lately.as_deref().or(self.before.as_deref()), name, labels)
    }

    fn growth_since(&self, sample: Option<&Sample>, name: &str, labels: &[(&str, &str)]) -> f64 {
        let before = sample.map_or(0.0, |sample| sample.sum(name, labels));
        (self.now.sum(name, labels) - before).max(0.0)
    }

    /// The growth for each second.
    pub fn per_second(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let time = self.before.as_ref().map_or(Duration::ZERO, |before| self.now.at - before.at);
        if time.is_zero() { 0.0 } else { self.growth(name, labels) / time.as_secs_f64() }
    }

    /// The time that a share `q` of what was observed lately took at most, by the bounds of the buckets: [`Duration::MAX`] beyond the
    /// last. None if nothing was observed.
    pub fn quantile(&self, name: &str, labels: &[(&str, &str)], q: f64) -> Option<Duration> {
        let before = self.before.as_ref().map(|before| before.buckets(name, labels)).unwrap_or_default();
        let mut grown = self.now.buckets(name, labels);
        for ((_, count), (_, former)) in grown.iter_mut().zip(before) {
            *count -= former;
        }
        let all = self.growth(name, labels);
        let reached = grown.into_iter().find(|(_, count)| *count >= q * all);
        (all > 0.0).then(|| reached.map_or(Duration::MAX, |(bound, _)| Duration::from_secs_f64(bound)))
    }

    /// The values that these labels have together in the series of a metric, those first that have grown most.
    pub fn label_values<const N: usize>(&self, name: &str, of: [&str; N]) -> Vec<[String; N]> {
        let values = |metric: &Metric| of.map(|name| label(metric, name).unwrap_or_default().to_owned());
        let mut found: Vec<[String; N]> = self.now.series(name, &[]).map(values).collect();
        found.sort();
        found.dedup();
        let growth = |values: &[String; N]| {
            let labels: Vec<(&str, &str)> = of.into_iter().zip(values.iter().map(String::as_str)).collect();
            self.growth(name, &labels)
        };
        found.sort_by(|a, b| growth(b).total_cmp(&growth(a)));
        found
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::*;

    #[test]
    fn rates_and_quantiles_are_of_what_has_grown() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("calls", "x"), &["method", "code"]).expect("a counter");
        let buckets = HistogramOpts::new("seconds", "x").buckets(vec![0.1, 1.0, 10.0]);
        let histogram = HistogramVec::new(buckets, &["method"]).expect("a histogram");
        registry.register(Box::new(counter.clone())).expect("registered");
        registry.register(Box::new(histogram.clone())).expect("registered");
        let window = Window::default();
        counter.with_label_values(&["A", "OK"]).inc_by(1000);
        histogram.with_label_values(&["A"]).observe(5.0);
        let begun = Instant::now();
        window.push(begun, registry.gather());
        counter.with_label_values(&["A", "OK"]).inc_by(20);
        counter.with_label_values(&["A", "NO"]).inc_by(10);
        counter.with_label_values(&["B", "OK"]).inc_by(100);
        for _ in 0..9 {
            histogram.with_label_values(&["A"]).observe(0.05);
        }
        histogram.with_label_values(&["A"]).observe(0.5);
        let recent = window.until(begun + Duration::from_secs(10), registry.gather());
        assert_eq!(recent.per_second("calls", &[("method", "A")]), 3.0);
        assert_eq!(recent.per_second("calls", &[("method", "A"), ("code", "NO")]), 1.0);
        assert_eq!((recent.value("calls", &[]), recent.per_second("no such", &[])), (1130.0, 0.0));
        assert_eq!(recent.quantile("seconds", &[], 0.5), Some(Duration::from_millis(100)));
        assert_eq!(recent.quantile("seconds", &[], 0.99), Some(Duration::from_secs(1)));
        assert_eq!(recent.quantile("seconds", &[("method", "B")], 0.5), None);
        histogram.with_label_values(&["C"]).observe(100.0);
        let recent = window.until(begun + Duration::from_secs(10), registry.gather());
        assert_eq!(recent.quantile("seconds", &[("method", "C")], 0.5), Some(Duration::MAX));
        assert_eq!(recent.label_values("calls", ["method"]), [["B"], ["A"]]);
        assert_eq!(recent.label_values("calls", ["method", "code"]), [["B", "OK"], ["A", "OK"], ["A", "NO"]]);
    }

    #[test]
    fn no_more_than_a_minute_is_kept() {
        let window = Window::default();
        let begun = Instant::now();
        for sample in 0..100 {
            window.push(begun + SAMPLE_EVERY * sample, Vec::new());
        }
        let recent = window.until(begun + SAMPLE_EVERY * 100, Vec::new());
        let before = recent.before.expect("a sample");
        assert!(recent.now.at - before.at <= Duration::from_secs(65) && before.at > begun);
    }
}
