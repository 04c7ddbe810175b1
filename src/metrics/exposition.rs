//! Metrics of another process, read from Prometheus' text format 0.0.4. They are the same values that its registry would give, so
//! that all arithmetic is that of `window`.

use std::{collections::BTreeMap, error, fmt};

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily};

/// A line that is no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The number of the line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is no sample of a metric", self.line)
    }
}

impl error::Error for Unreadable {}

/// Labels of a series, by name.
type Labels = BTreeMap<String, String>;

/// A line that has a value.
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

/// The series of a metric.
#[derive(Default)]
struct Family {
    is_counter: bool,
    values: Vec<(Labels, f64)>,
    histograms: BTreeMap<Labels, (Histogram, Vec<Bucket>)>,
}

/// Reads metrics: counters, gauges and histograms. What has no type counts as a gauge.
///
/// # Errors
/// [`Unreadable`] for a line that is neither a comment nor a sample.
pub fn read_metrics(text: &str) -> Result<Vec<MetricFamily>, Unreadable> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut types: BTreeMap<&str, &str> = BTreeMap::new();
    for (place, line) in text.lines().map(str::trim).enumerate() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            types.insert(name, kind.trim());
        } else if !line.is_empty() && !line.starts_with('#') {
            let sample = sample(line).ok_or(Unreadable { line: place + 1 })?;
            keep(sample, &types, &mut families);
        }
    }
    Ok(families.into_iter().map(|(name, family)| family.finish(name)).collect())
}

/// Puts a sample where it belongs: those of a histogram are one series.
fn keep(
    Sample { name, mut labels, value }: Sample,
    types: &BTreeMap<&str, &str>,
    families: &mut BTreeMap<String, Family>,
) {
    let part = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| Some((name.strip_suffix(end)?, end)));
    let part = part.filter(|(stem, _)| types.get(stem) == Some(&"histogram"));
    let Some((stem, end)) = part else {
        let is_counter = types.get(name.as_str()) == Some(&"counter");
        let family = families.entry(name).or_default();
        family.is_counter = is_counter;
        return family.values.push((labels, value));
    };
    let bound = labels.remove("le").and_then(|bound| bound.parse::<f64>().ok());
    let (histogram, buckets) = families.entry(stem.to_owned()).or_default().histograms.entry(labels).or_default();
    match (end, bound) {
        ("_count", _) => histogram.set_sample_count(whole(value)),
        ("_sum", _) => histogram.set_sample_sum(value),
        // The last bucket, which has no bound, is the count.
        (_, Some(bound)) if bound.is_finite() => {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(whole(value));
            buckets.push(bucket);
        }
        _ => {}
    }
}

impl Family {
    fn finish(self, name: String) -> MetricFamily {
        let is_counter = self.is_counter;
        let value = |(labels, value): (Labels, f64)| {
            let mut metric = Metric::from_label(pairs(labels));
            if is_counter {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            metric
        };
        let histogram = |(labels, (mut histogram, buckets)): (Labels, (Histogram, Vec<Bucket>))| {
            histogram.set_bucket(buckets);
            let mut metric = Metric::from_label(pairs(labels));
            metric.set_histogram(histogram);
            metric
        };
        let values = self.values.into_iter().map(value);
        let mut family = MetricFamily::default();
        family.set_name(name);
        family.set_metric(values.chain(self.histograms.into_iter().map(histogram)).collect());
        family
    }
}

fn pairs(labels: Labels) -> Vec<LabelPair> {
    let pair = |(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name);
        pair.set_value(value);
        pair
    };
    labels.into_iter().map(pair).collect()
}

/// A number of things that were counted; what is none counts as 0.
fn whole(value: f64) -> u64 {
    value as u64
}

/// Reads `name{label="value",...} value [time]`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(|c: char| !is_of_name(c)).filter(|end| *end > 0)?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner.trim_start();
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"").filter(|(label, _)| label.trim().chars().all(is_of_name))?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_owned(), value);
            let after = after.trim_start();
            rest = after.strip_prefix(',').map(str::trim_start).or_else(|| after.starts_with('}').then_some(after))?;
        }
        rest = rest.strip_prefix('}')?;
    }
    let mut words = rest.split_whitespace();
    let value = words.next()?.parse().ok()?;
    let is_whole = words.next().is_none_or(|time| time.parse::<i64>().is_ok()) && words.next().is_none();
    is_whole.then(|| Sample { name: name.to_owned(), labels, value })
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == ':'
}

/// The value of a label up to its quotation mark, without the escapes, and what comes after.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.chars());
    loop {
        match chars.next()? {
            '"' => return Some((value, chars.as_str())),
            '\\' => value.push(match chars.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{IntGauge, Opts, Registry};

    use super::*;
    use crate::metrics::{Login, Metrics};

    /// Sums of what was read, by name.
    fn sums(text: &str) -> BTreeMap<String, f64> {
        let sum = |family: &MetricFamily| {
            let value = |metric: &Metric| {
                metric.get_counter().get_value()
                    + metric.get_gauge().get_value()
                    + metric.get_histogram().get_sample_sum()
            };
            (family.name().to_owned(), family.get_metric().iter().map(value).sum())
        };
        read_metrics(text).expect("metrics").iter().map(sum).collect()
    }

    #[test]
    fn the_text_of_a_server_is_read_as_its_registry_has_it() {
        let metrics = Metrics::new().expect("metrics");
        metrics.outcomes.logins.count(Login::Ok);
        metrics.hashing.took(std::time::Duration::from_millis(30));
        metrics.hashing.took(std::time::Duration::from_secs(100));
        let read = read_metrics(&metrics.render().expect("text")).expect("metrics");
        let of = |name: &str| read.iter().find(|family| family.name() == name).expect(name).get_metric();
        let hashes = of("countersign_password_hash_seconds")[0].get_histogram();
        assert_eq!((hashes.get_sample_count(), hashes.get_sample_sum()), (2, 100.03));
        let buckets: Vec<_> = hashes.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect();
        assert_eq!((buckets.len(), buckets[7], buckets[8], buckets[16]), (17, (0.025, 0), (0.05, 1), (60.0, 1)));
        let ok = of("countersign_logins_total").iter().find(|metric| metric.get_label()[0].value() == "ok");
        assert_eq!(ok.expect("a series").get_counter().get_value(), 1.0);
        assert_eq!(of("countersign_build_info")[0].get_gauge().get_value(), 1.0);
    }

    #[test]
    fn a_label_is_read_as_it_was_before_it_was_escaped() {
        let value = "a\\b\"c\nd} # {é=\"1\",";
        let registry = Registry::new();
        let gauge = IntGauge::with_opts(Opts::new("g", "x").const_label("l", value)).expect("a gauge");
        registry.register(Box::new(gauge)).expect("registered");
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
        let read = read_metrics(&text).expect("metrics");
        assert_eq!(read[0].get_metric()[0].get_label()[0].value(), value);
    }

    #[test]
    fn values_that_are_no_numbers_spaces_and_times_are_read() {
        let text = "# HELP a b\n\n# TYPE a counter\na 1\na{b=\"c\"} 2.5 1700000000000\n b { d = \"e\" , } +Inf\nc NaN\nd -1e3\r\n";
        let sums = sums(&text.replace(" b { d = ", "b{ d ="));
        assert_eq!((sums["a"], sums["b"], sums["d"]), (3.5, f64::INFINITY, -1000.0));
        assert!(sums["c"].is_nan());
    }

    #[test]
    fn what_is_no_metric_is_named_by_its_line() {
        for bad in [
            "<html>",
            "a",
            "a{",
            "a{b}",
            "a{b=\"c} 1",
            "a{b=\"c\" 1",
            "a{b=\"c\"d=\"e\"} 1",
            "a x",
            "a 1 2 3",
            "{} 1",
            "\u{1b}[2J 1",
        ] {
            assert_eq!(
                read_metrics(&format!("ok 1\n{bad}\n")).map(|read| read.len()),
                Err(Unreadable { line: 2 }),
                "{bad}"
            );
        }
        assert_eq!(read_metrics("").map(|read| read.len()), Ok(0));
    }
}
