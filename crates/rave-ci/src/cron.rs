//! When a schedule runs: five fields or a word such as `@daily`, in a time zone.
//!
//! Days on which a clock is set: a time that is skipped counts as the moment that the clock shows instead (02:30 becomes
//! 03:30), one that comes twice counts the first time. A schedule for every hour follows the hours as they pass, so it
//! neither rests nor hurries on such days.

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp as Instant, ToSpan as _};
use rave_core::time::Timestamp;

/// How far ahead a run is looked for: the 29th of February may be eight years away.
const DAYS: usize = 366 * 9;
/// How much of the day may be repeated or skipped when clocks are set.
const SHIFT_HOURS: i64 = 3;

/// A text that names no times.
#[derive(Debug, thiserror::Error)]
#[error("is invalid syntax")]
pub(crate) struct InvalidCron;

/// Times, as five fields give them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    /// Also the last day of each month.
    last_day: bool,
    months: u64,
    weekdays: u64,
    /// Whether the field names days: if both do, either suffices.
    by_day: bool,
    by_weekday: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads five fields or a word.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidCron> {
        let text = text.trim().to_ascii_lowercase();
        let text = match text.as_str() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@noon" => "0 12 * * *",
            "@hourly" => "0 * * * *",
            fields => fields,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(InvalidCron);
        };
        let last_day = days.split(',').any(|it| it == "l" || it == "last");
        let others: Vec<&str> = days
            .split(',')
            .filter(|it| *it != "l" && *it != "last")
            .collect();
        let cron = Self {
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: match others[..] {
                [] => 0,
                _ => field(&others.join(","), 1, 31, &[])?,
            },
            last_day,
            months: field(months, 1, 12, &MONTHS)?,
            // Sunday is 0 and 7.
            weekdays: match field(weekdays, 0, 7, &WEEKDAYS)? {
                set if set >> 7 & 1 == 1 => set | 1,
                set => set,
            },
            by_day: !days.starts_with('*'),
            by_weekday: !weekdays.starts_with('*'),
        };
        Ok(cron)
    }

    /// Returns the first time after an instant. `None` when there is none for years, as of the 30th of February.
    pub(crate) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let after = Instant::from_millisecond(after.0).ok()?;
        let start = zone
            .to_datetime(after)
            .checked_sub(SHIFT_HOURS.hours())
            .ok()?;
        let mut best: Option<(Instant, DateTime)> = None;
        let mut date = start.date();
        for _ in 0..DAYS {
            if best.is_some_and(|(_, last)| date > last.date()) {
                break;
            }
            if self.has_date(date) {
                for time in self.times(date).filter(|it| *it >= start) {
                    if let Some((_, last)) = best
                        && time > last
                    {
                        return Some(Timestamp(best?.0.as_millisecond()));
                    }
                    let earliest = self.instants(time, zone).filter(|it| *it > after).min();
                    if let Some(found) = earliest
                        && best.is_none_or(|(known, _)| found < known)
                    {
                        // Where an hour comes twice a later time on the clock may still be an earlier instant.
                        let last = time.checked_add(SHIFT_HOURS.hours()).ok()?;
                        best = Some((found, best.map_or(last, |it| it.1)));
                    }
                }
            }
            date = date.tomorrow().ok()?;
        }
        best.map(|it| Timestamp(it.0.as_millisecond()))
    }

    fn has_date(&self, date: Date) -> bool {
        let bit = |set: u64, at: i8| set >> at & 1 == 1;
        let day =
            bit(self.days, date.day()) || (self.last_day && date.day() == date.days_in_month());
        let weekday = bit(self.weekdays, weekday(date.weekday()));
        let days = match (self.by_day, self.by_weekday) {
            (true, true) => day || weekday,
            _ => day && weekday,
        };
        bit(self.months, date.month()) && days
    }

    fn times(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let (hours, minutes) = (self.hours, self.minutes);
        let hours = (0..24_i8).filter(move |it| hours >> it & 1 == 1);
        hours.flat_map(move |hour| {
            let minutes = (0..60_i8).filter(move |it| minutes >> it & 1 == 1);
            minutes.map(move |minute| date.at(hour, minute, 0, 0))
        })
    }

    /// Returns the instants that a time of the clock stands for.
    fn instants(&self, time: DateTime, zone: &TimeZone) -> impl Iterator<Item = Instant> {
        const EVERY_HOUR: u64 = (1 << 24) - 1;
        let every_hour = self.hours == EVERY_HOUR;
        let ambiguous = zone.to_ambiguous_timestamp(time);
        let (first, second) = match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } if every_hour => (None, None),
            AmbiguousOffset::Fold { .. } if every_hour => {
                (ambiguous.earlier().ok(), ambiguous.later().ok())
            }
            _ => (ambiguous.compatible().ok(), None),
        };
        first.into_iter().chain(second)
    }
}

/// Returns the time zone with a name of the IANA's database.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// Returns the names of all time zones, sorted.
pub(crate) fn zone_names() -> Vec<String> {
    let mut names: Vec<String> = TimeZoneDatabase::bundled()
        .available()
        .map(|it| it.to_string())
        .collect();
    names.sort_unstable();
    names
}

fn weekday(day: Weekday) -> i8 {
    day.to_sunday_zero_offset()
}

/// Reads a field such as `*/5`, `1-5`, `mon,wed` or `22-2` into a set of bits.
fn field(text: &str, min: u32, max: u32, names: &[&str]) -> Result<u64, InvalidCron> {
    let number = |text: &str| -> Result<u32, InvalidCron> {
        if let Some(at) = names.iter().position(|it| *it == text) {
            return u32::try_from(at)
                .map(|it| it + min)
                .map_err(|_| InvalidCron);
        }
        let digits =
            !text.is_empty() && text.len() <= 2 && text.bytes().all(|it| it.is_ascii_digit());
        let number = text.parse().ok().filter(|_| digits).ok_or(InvalidCron)?;
        (min..=max)
            .contains(&number)
            .then_some(number)
            .ok_or(InvalidCron)
    };
    let mut set = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().map_err(|_| InvalidCron)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None if range == "*" => (min, max),
            // `5/10` goes on to the end.
            None if part.contains('/') => (number(range)?, max),
            None => (number(range)?, number(range)?),
        };
        if step == 0 || step > max {
            return Err(InvalidCron);
        }
        // A range may go over the end: Friday to Monday.
        let length = if first <= last {
            last - first
        } else {
            max - first + 1 + last - min
        };
        for at in (0..=length).step_by(usize::try_from(step).map_err(|_| InvalidCron)?) {
            let value = first + at;
            let value = if value > max {
                value - (max - min + 1)
            } else {
                value
            };
            set |= 1_u64 << value;
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(cron: &str, zone_name: &str, after: &str) -> Option<String> {
        let after: Instant = after.parse().expect("an instant");
        let found = Cron::parse(cron).expect("valid").next(
            Timestamp(after.as_millisecond()),
            &zone(zone_name).expect("a zone"),
        )?;
        Some(
            Instant::from_millisecond(found.0)
                .expect("in range")
                .to_string(),
        )
    }

    #[test]
    fn the_next_time_is_found() {
        let check = |cron: &str, after: &str, expected: &str| {
            assert_eq!(
                next(cron, "UTC", after).as_deref(),
                Some(expected),
                "{cron}"
            );
        };
        check("* * * * *", "2026-01-02T03:04:05Z", "2026-01-02T03:05:00Z");
        check("5 4 * * *", "2026-01-02T04:05:00Z", "2026-01-03T04:05:00Z");
        check("5 4 * * *", "2026-01-02T04:04:59Z", "2026-01-02T04:05:00Z");
        check(
            "*/15 * * * *",
            "2026-01-02T03:46:00Z",
            "2026-01-02T04:00:00Z",
        );
        check(
            "5/20 1 * * *",
            "2026-01-02T01:06:00Z",
            "2026-01-02T01:25:00Z",
        );
        check(
            "0 22-2/2 * * *",
            "2026-01-02T22:00:00Z",
            "2026-01-03T00:00:00Z",
        );
        check("0 0 31 * *", "2026-02-01T00:00:00Z", "2026-03-31T00:00:00Z");
        check("0 0 L * *", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z");
        check("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 0 * * 7", "2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z");
        check(
            "0 0 * * mon-fri",
            "2026-01-02T00:00:00Z",
            "2026-01-05T00:00:00Z",
        );
        check(
            "0 0 * * fri-mon",
            "2026-01-05T00:00:00Z",
            "2026-01-09T00:00:00Z",
        );
        check(
            "0 9 1 JAN *",
            "2026-01-02T00:00:00Z",
            "2027-01-01T09:00:00Z",
        );
        // Days of the month and of the week: either.
        check("0 0 13 * 5", "2026-01-03T00:00:00Z", "2026-01-09T00:00:00Z");
        check("0 0 13 * 5", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z");
        check("@daily", "2026-01-02T03:04:05Z", "2026-01-03T00:00:00Z");
        check("@hourly", "2026-01-02T03:04:05Z", "2026-01-02T04:00:00Z");
        check(" @Weekly ", "2026-01-02T03:04:05Z", "2026-01-04T00:00:00Z");
        assert_eq!(next("0 0 30 2 *", "UTC", "2026-01-01T00:00:00Z"), None);
    }

    #[test]
    fn clocks_that_are_set_neither_skip_nor_repeat_a_day() {
        let check = |cron: &str, after: &str, expected: &str| {
            let found = next(cron, "Europe/Berlin", after);
            assert_eq!(found.as_deref(), Some(expected), "{cron} after {after}");
        };
        check("0 9 * * *", "2026-01-10T08:00:00Z", "2026-01-11T08:00:00Z");
        check("0 9 * * *", "2026-07-10T08:00:00Z", "2026-07-11T07:00:00Z");
        // On 29 March 02:00 is followed by 03:00.
        check("30 2 * * *", "2026-03-28T02:00:00Z", "2026-03-29T01:30:00Z");
        check("30 2 * * *", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z");
        check(
            "*/30 * * * *",
            "2026-03-29T00:30:00Z",
            "2026-03-29T01:00:00Z",
        );
        // On 25 October 02:00 to 03:00 comes twice.
        check("30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z");
        check("30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z");
        check("30 * * * *", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
        check("30 * * * *", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z");
        check(
            "*/30 * * * *",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
        );
    }

    #[test]
    fn what_names_no_times_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "*/x * * * *",
            "a * * * *",
            "1- * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "1,,2 * * * *",
            "@never",
            "@reboot",
            "* * * mon *",
            "001 * * * *",
            "1/99 * * * *",
        ] {
            assert!(Cron::parse(wrong).is_err(), "{wrong}");
        }
        assert!(zone("Mars/Olympus").is_none() && zone("").is_none());
    }

    proptest! {
        #[test]
        fn any_text_is_judged_and_times_only_go_on(text in "[0-9*/,L@a-z -]{0,30}", after in 0_i64..4_000_000_000_000) {
            if let Ok(cron) = Cron::parse(&text) {
                let found = cron.next(Timestamp(after), &TimeZone::UTC);
                prop_assert!(found.is_none_or(|it| it.0 > after && it.0 % 60_000 == 0));
            }
        }

        #[test]
        fn every_time_is_found_once(after in 1_700_000_000_000_i64..1_900_000_000_000, hour in 0..24_u8, minute in 0..60_u8) {
            let zone = zone("America/New_York").expect("a zone");
            let cron = Cron::parse(&format!("{minute} {hour} * * *")).expect("valid");
            let first = cron.next(Timestamp(after), &zone).expect("daily");
            let second = cron.next(first, &zone).expect("daily");
            let hours = second.since(first) / 3_600_000;
            prop_assert!((22..=26).contains(&hours), "{first:?} {second:?}");
        }
    }
}
