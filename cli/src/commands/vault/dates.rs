//! Dates for people. In UTC, and saying so: a confined process knows no zone.

use time::OffsetDateTime;

/// `2026-11-28 09:10 UTC`; what nobody knows is `-`.
pub(super) fn day_and_time(seconds: Option<u64>) -> String {
    let date = seconds
        .and_then(|s| i64::try_from(s).ok())
        .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let Some(at) = date else {
        return "-".to_owned();
    };
    let (year, month, day) = at.to_calendar_date();
    let month = u8::from(month);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02} UTC",
        at.hour(),
        at.minute()
    )
}

#[cfg(test)]
mod tests {
    use super::day_and_time;

    #[test]
    fn dates_are_told_in_utc() {
        assert_eq!(day_and_time(Some(0)), "1970-01-01 00:00 UTC");
        assert_eq!(day_and_time(Some(1_709_210_096)), "2024-02-29 12:34 UTC");
        assert_eq!(day_and_time(None), "-");
        assert_eq!(day_and_time(Some(u64::MAX)), "-");
    }
}
