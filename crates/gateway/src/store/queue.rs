//! The order of what waits: grants take turns, so that one with many jobs does not hold up one with few.

use blobs::Digest;
use rusqlite::Connection;

use super::{StoreError, columns};

/// A submit to be sent to the enclave.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Payload digest of the request.
    pub request: Digest,
    /// The bundle that it names.
    pub bundle: Digest,
    /// The request's envelope.
    pub envelope: Vec<u8>,
    /// The purpose.
    pub purpose: String,
    /// Its salt.
    pub purpose_salt: Vec<u8>,
}

/// Starts that are looked at for the turns of grants. A grant whose last start lies further back is as one that has
/// started nothing.
const STARTS: u32 = 1000;

/// How many jobs that were shown as waiting at a moment start before this one: grants take turns, the one first that has
/// started nothing for the longest, as far as that was shown. What has not been shown yet at that moment is not looked
/// at, except that a job which was taken in since then waits.
pub(super) fn waiting_before(
    connection: &Connection,
    request: &Digest,
    moment: i64,
) -> Result<u32, StoreError> {
    let mut query = connection.prepare_cached(
        "WITH waiting AS (
             SELECT place, grant_id, request FROM jobs
             WHERE request = ?1
                 OR (state IN ('SUBMITTED', 'QUEUED', 'RUNNING')
                     OR request IN (SELECT job FROM events WHERE visible_at > ?2))
                 AND coalesce((SELECT state FROM events WHERE job = jobs.request AND visible_at <= ?2
                               ORDER BY event DESC LIMIT 1), 'SUBMITTED') IN ('SUBMITTED', 'QUEUED')),
         starts AS (
             SELECT job, visible_at FROM events WHERE state = 'RUNNING' AND visible_at <= ?2
             ORDER BY visible_at DESC LIMIT ?3),
         turns AS (
             SELECT grant_id, max(visible_at) AS turn FROM starts JOIN jobs ON jobs.request = starts.job
             GROUP BY grant_id),
         ordered AS (
             SELECT request, row_number() OVER (ORDER BY nth, turn, place) AS nth FROM (
                 SELECT request, place, coalesce(turn, 0) AS turn,
                        row_number() OVER (PARTITION BY grant_id ORDER BY place) AS nth
                 FROM waiting LEFT JOIN turns USING (grant_id)))
         SELECT nth - 1 FROM ordered WHERE request = ?1",
    )?;
    let before: i64 = query.query_row((request.as_bytes(), moment, STARTS), |row| row.get(0))?;
    u32::try_from(before).map_err(|_| StoreError::Foreign("place"))
}

/// What the enclave has not answered yet, in the order in which it is handed over: the first of each grant, then the
/// second of each, and so on, so that a grant with many jobs does not hold up one with few.
pub fn unanswered(connection: &Connection) -> Result<Vec<Submit>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT submits.*, bundle, place,
                row_number() OVER (PARTITION BY grant_id ORDER BY place) AS turn
         FROM submits JOIN jobs ON jobs.request = submits.request ORDER BY turn, place LIMIT 1000",
    )?;
    let mut rows = query.query([])?;
    let mut submits = Vec::new();
    while let Some(row) = rows.next()? {
        submits.push(Submit {
            request: columns::digest(row, "request")?,
            bundle: columns::digest(row, "bundle")?,
            envelope: row.get("envelope")?,
            purpose: row.get("purpose")?,
            purpose_salt: row.get("purpose_salt")?,
        });
    }
    Ok(submits)
}

#[cfg(test)]
mod tests {
    use lifecycle::State;

    use super::*;
    use crate::store::events::{self, Said};
    use crate::store::jobs::{find, view};
    use crate::store::testing::{at, connection, take};

    #[test]
    fn grants_take_turns() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let many: Vec<_> = (0..3).map(|number| take(&transaction, "many", number, 0).unwrap()).collect();
        let few = take(&transaction, "few", 0, 1).unwrap();
        let order: Vec<_> = unanswered(&transaction).unwrap().iter().map(|submit| submit.request).collect();
        assert_eq!(order, [many[0], few, many[1], many[2]]);
    }

    #[test]
    fn a_place_in_the_queue_moves_on_the_grid_only() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let first = take(&transaction, "many", 0, 10).unwrap();
        let last = take(&transaction, "few", 0, 20).unwrap();
        let place = |seconds| {
            let requester = "researcher-mia".parse().unwrap();
            view(&transaction, &requester, &last, at(seconds)).unwrap().unwrap().queue_place
        };
        assert_eq!(place(20), 2);
        // The one before begins to run, and that is shown at once: its own grid may be finer.
        let found = find(&transaction, &first).unwrap().unwrap();
        let running = Said { state: Some(State::Running), ..Said::default() };
        events::append(&transaction, &found, None, &running, at(700)).unwrap();
        assert_eq!((place(700), place(1199), place(1200)), (2, 2, 1));
    }

    #[test]
    fn places_are_told_in_the_order_in_which_grants_take_turns() {
        let (_directory, mut connection) = connection();
        let transaction = connection.transaction().unwrap();
        let many: Vec<_> = (0..3).map(|number| take(&transaction, "many", number, 10).unwrap()).collect();
        let few: Vec<_> = (0..2).map(|number| take(&transaction, "few", number, 20).unwrap()).collect();
        let places = |seconds| {
            let of = |request: &Digest| {
                let requester = "researcher-mia".parse().unwrap();
                view(&transaction, &requester, request, at(seconds)).unwrap().unwrap().queue_place
            };
            (many.iter().map(of).collect::<Vec<_>>(), few.iter().map(of).collect::<Vec<_>>())
        };
        assert_eq!(places(30), (vec![1, 3, 5], vec![2, 4]));
        let found = find(&transaction, &many[0]).unwrap().unwrap();
        let running = Said { state: Some(State::Running), ..Said::default() };
        events::append(&transaction, &found, None, &running, at(600)).unwrap();
        assert_eq!(
            places(1200),
            (vec![0, 2, 4], vec![1, 3]),
            "the grant that has started nothing comes first"
        );
    }
}
