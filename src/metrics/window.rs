//! The last minute: samples of all metrics, for rates and quantiles where no Prometheus keeps them.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::proto::{Metric, MetricFamily};
use tokio::time::Instant;

/// Time between two samples of a server.
pub const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// Time for which samples are kept.
pub const MINUTE: Duration = Duration::from_secs(60);
/// Time between two samples that are kept, at least; the newest one is kept too.
const APART: Duration = Duration::from_millis(2500);

/// Samples of the last minute.
#[derive(Debug, Default)]
pub struct Window(Mutex<VecDeque<Arc<Sample>>>);

#[derive(Debug)]
struct Sample {
    at: Instant,
    families: Vec<MetricFamily>,
}

/// The metrics as they are now, and as they were up to a minute ago: of one server, or of several together.
#[derive(Clone, Debug, Default)]
pub struct Recent(Vec<Part>);

/// The metrics of one server.
#[derive(Clone, Debug)]
struct Part {
    before: Option<Arc<Sample>>,
    /// The newest sample that is five seconds old.
    lately: Option<Arc<Sample>>,
    now: Arc<Sample>,
}

impl Window {
    /// Keeps a sample. With one of another process the window begins anew: what that one has counted is of no time that is known.
    pub fn push(&self, at: Instant, families: Vec<MetricFamily>) {
        let sample = Arc::new(Sample { at, families });
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|last| sample.is_of_another_process_than(last)) {
            samples.clear();
        }
        let mut newest = samples.iter().rev().map(|sample| sample.at);
        if let (Some(last), Some(before)) = (newest.next(), newest.next())
            && last - before < APART
        {
            samples.pop_back();
        }
        samples.push_back(sample);
        while samples.get(1).is_some_and(|second| at - second.at >= MINUTE) {
            samples.pop_front();
        }
    }

    /// The metrics as they are now, beside the oldest sample.
    pub fn until(&self, at: Instant, families: Vec<MetricFamily>) -> Recent {
        self.beside(Arc::new(Sample { at, families }), MINUTE + SAMPLE_EVERY)
    }

    /// The metrics as they were kept last, beside the oldest sample of this time before, or the sample before. None if nothing was kept.
    pub fn last(&self, span: Duration) -> Option<Recent> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner).back().cloned()?;
        let mut recent = self.beside(Arc::clone(&newest), span);
        for part in &mut recent.0 {
            // What was counted before the first sample is of no time that is known.
            part.before.get_or_insert_with(|| Arc::clone(&newest));
        }
        Some(recent)
    }

    fn beside(&self, now: Arc<Sample>, span: Duration) -> Recent {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let older = || samples.iter().filter(|sample| !Arc::ptr_eq(sample, &now));
        let before = older().find(|sample| now.at - sample.at <= span).or_else(|| older().next_back()).cloned();
        let lately = older().rev().find(|sample| now.at - sample.at >= SAMPLE_EVERY).cloned();
        Recent(vec![Part { before, lately, now }])
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
        sum(self.series(name, labels).map(value))
    }

    /// The buckets of these series of a histogram: their bounds, and what was observed up to there.
    fn buckets(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let histograms = self.series(name, labels).map(Metric::get_histogram);
        let counts = histograms.flat_map(|histogram| histogram.get_bucket());
        counts.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count() as f64)).collect()
    }

    /// True if a process that has started since counts here: by the moment of its start, where it is told, or because less was counted.
    fn is_of_another_process_than(&self, former: &Self) -> bool {
        let of_both = |name| (self.sum(name, &[]), former.sum(name, &[]));
        let (started, calls) = (of_both("process_start_time_seconds"), of_both("grpc_server_started_total"));
        calls.0 < calls.1 || started.0 != started.1 && started.1 != 0.0
    }
}

fn label<'m>(metric: &'m Metric, name: &str) -> Option<&'m str> {
    metric.get_label().iter().find(|pair| pair.name() == name).map(|pair| pair.value())
}

/// The sum, which is 0 of nothing: that of the library is -0.
fn sum(values: impl Iterator<Item = f64>) -> f64 {
    values.fold(0.0, |sum, value| sum + value)
}

impl Recent {
    /// The metrics of several servers: what is asked for is the sum over them, and a quantile is that of all.
    pub fn together<'r>(all: impl IntoIterator<Item = &'r Self>) -> Self {
        Self(all.into_iter().flat_map(|recent| recent.0.iter().cloned()).collect())
    }

    /// True for the metrics of no server.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time that is looked back on, the longest of several servers; zero before the second sample.
    pub fn span(&self) -> Duration {
        self.0.iter().map(Part::span).max().unwrap_or_default()
    }

    /// The value now: the sum of the series with these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(self.0.iter().map(|part| part.now.sum(name, labels)))
    }

    /// The growth in the time that is looked back on.
    pub fn growth(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        sum(self.0.iter().map(|part| part.growth_since(part.before.as_deref(), name, labels)))
    }

    /// The growth in the last five to ten seconds.
    pub fn growth_lately(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let grown = |part: &Part| {
            let lately = part.lately.as_deref().or(part.before.as_deref());
            part.growth_since(lately, name, labels)
        };
        sum(self.0.iter().map(grown))
    }

    /// The growth for each second.
    pub fn per_second(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let rate = |part: &Part| {
            let growth = part.growth_since(part.before.as_deref(), name, labels);
            if part.span().is_zero() { 0.0 } else { growth / part.span().as_secs_f64() }
        };
        sum(self.0.iter().map(rate))
    }

    /// The time that a share `q` of what was observed lately took at most, by the bounds of the buckets: [`Duration::MAX`] beyond the
    /// last. None if nothing was observed.
    pub fn quantile(&self, name: &str, labels: &[(&str, &str)], q: f64) -> Option<Duration> {
        let mut grown: Vec<(f64, f64)> = Vec::new();
        let mut add = |bound: f64, count: f64| match grown.iter_mut().find(|(known, _)| *known == bound) {
            Some((_, sum)) => *sum += count,
            None => grown.push((bound, count)),
        };
        for part in &self.0 {
            let before = part.before.as_ref().map(|before| before.buckets(name, labels)).unwrap_or_default();
            part.now.buckets(name, labels).into_iter().for_each(|(bound, count)| add(bound, count));
            before.into_iter().for_each(|(bound, count)| add(bound, -count));
        }
        grown.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let all = self.growth(name, labels);
        let reached = grown.into_iter().find(|(_, count)| *count >= q * all);
        let time = |(bound, _)| Duration::try_from_secs_f64(bound).unwrap_or(Duration::MAX);
        (all > 0.0).then(|| reached.map_or(Duration::MAX, time))
    }

    /// The values that these labels have together in the series of a metric, those first that have grown most.
    pub fn label_values<const N: usize>(&self, name: &str, of: [&str; N]) -> Vec<[String; N]> {
        let values = |metric: &Metric| of.map(|name| label(metric, name).unwrap_or_default().to_owned());
        let mut found: Vec<[String; N]> =
            self.0.iter().flat_map(|part| part.now.series(name, &[]).map(values)).collect();
        found.sort();
        found.dedup();
        let growth = |values: &[String; N]| {
            let labels: Vec<(&str, &str)> = of.into_iter().zip(values.iter().map(String::as_str)).collect();
            self.growth(name, &labels)
        };
        let mut grown: Vec<_> = found.into_iter().map(|values| (growth(&values), values)).collect();
        grown.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        grown.into_iter().map(|(_, values)| values).collect()
    }

    /// The rates of a counter by a label, but those that are zero.
    pub fn rates_by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let values = self.label_values(name, [label]).into_iter();
        let rates = values.map(|[value]| (self.per_second(name, &[(label, &value)]), value));
        rates.filter(|(rate, _)| *rate > 0.0).map(|(rate, value)| (value, rate)).collect()
    }
}

impl Part {
    fn span(&self) -> Duration {
        self.before.as_ref().map_or(Duration::ZERO, |before| self.now.at - before.at)
    }

    fn growth_since(&self, sample: Option<&Sample>, name: &str, labels: &[(&str, &str)]) -> f64 {
        let before = sample.map_or(0.0, |sample| sample.sum(name, labels));
        (self.now.sum(name, labels) - before).max(0.0)
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
        assert!((Duration::from_secs(55)..=Duration::from_secs(65)).contains(&recent.span()), "{:?}", recent.span());
        assert_eq!(recent.growth_lately("any", &[]), 0.0);
    }

    /// Metrics of a process that has started at this moment, and has counted so many calls.
    fn metrics(started: i64, calls: u64, buckets: [u64; 2]) -> Vec<MetricFamily> {
        let text = format!(
            "process_start_time_seconds {started}\n# TYPE grpc_server_started_total counter\ngrpc_server_started_total {calls}\n\
             # TYPE seconds histogram\nseconds_bucket{{le=\"0.1\"}} {}\nseconds_bucket{{le=\"1\"}} {}\nseconds_count {}\n",
            buckets[0], buckets[1], buckets[1]
        );
        crate::metrics::read_metrics(&text).expect("metrics")
    }

    fn window(begun: Instant, samples: &[(u64, Vec<MetricFamily>)]) -> Window {
        let window = Window::default();
        for (second, families) in samples {
            window.push(begun + Duration::from_secs(*second), families.clone());
        }
        window
    }

    #[test]
    fn another_process_at_the_same_place_has_no_rates_at_first() {
        let begun = Instant::now();
        for (restarted, how) in [(metrics(7, 400, [0, 9]), "another start"), (metrics(0, 20, [0, 9]), "fewer calls")] {
            let start = if how == "another start" { 5 } else { 0 };
            let samples = [(0, metrics(start, 100, [0, 0])), (10, metrics(start, 300, [50, 50])), (20, restarted)];
            let recent = window(begun, &samples).last(MINUTE).expect("samples");
            assert_eq!(recent.per_second("grpc_server_started_total", &[]), 0.0, "{how}");
            assert_eq!(recent.quantile("seconds", &[], 0.5), None, "{how}");
            assert_eq!(recent.span(), Duration::ZERO, "{how}");
        }
    }

    #[test]
    fn of_several_servers_rates_are_added_and_quantiles_are_those_of_all() {
        let begun = Instant::now();
        let quick = window(begun, &[(0, metrics(1, 0, [0, 0])), (10, metrics(1, 100, [90, 90]))]).last(MINUTE);
        let slow = window(begun, &[(5, metrics(2, 0, [0, 0])), (10, metrics(2, 100, [0, 10]))]).last(MINUTE);
        let [quick, slow] = [quick.expect("samples"), slow.expect("samples")];
        let both = Recent::together([&quick, &slow]);
        assert_eq!(both.per_second("grpc_server_started_total", &[]), 30.0);
        assert_eq!(both.quantile("seconds", &[], 0.9), Some(Duration::from_millis(100)));
        assert_eq!(both.quantile("seconds", &[], 0.99), Some(Duration::from_secs(1)));
        assert_eq!(Recent::together([]).per_second("grpc_server_started_total", &[]), 0.0);
    }

    #[test]
    fn the_first_sample_has_no_rate_and_frequent_ones_are_thinned() {
        let begun = Instant::now();
        let first = window(begun, &[(0, metrics(1, 1000, [5, 5]))]).last(MINUTE).expect("a sample");
        assert_eq!(first.per_second("grpc_server_started_total", &[]), 0.0);
        let many = Window::default();
        for half_second in 0..1000 {
            many.push(begun + Duration::from_millis(500) * half_second, metrics(1, u64::from(half_second), [0, 0]));
        }
        let kept = many.0.lock().expect("samples").len();
        assert!(kept <= 27, "{kept}");
        let recent = many.last(Duration::from_secs(15)).expect("samples");
        assert_eq!(recent.per_second("grpc_server_started_total", &[]), 2.0);
        assert!(recent.span() > Duration::from_secs(10), "{:?}", recent.span());
    }
}
