//! What is counted while the views are searched, in their order.

use std::ops::Range;

use release::report::{PLACE_LIMIT, Place};

use crate::views::View;

/// Runs found, merged where they touch.
#[derive(Default)]
pub(crate) struct Tally {
    runs: u64,
    places: Vec<Place>,
    open: Option<Place>,
}

impl Tally {
    /// Adds a stretch of a view. Stretches of a view come in order, and a later one may go on where one ended.
    pub(crate) fn add(&mut self, output: u16, view: View, stretch: Range<u64>) {
        let length = stretch.end - stretch.start;
        match &mut self.open {
            Some(open)
                if (open.output, open.view) == (output, view.index())
                    && open.offset + open.length == stretch.start =>
            {
                open.length += length
            }
            _ => {
                self.close();
                self.open = Some(Place { output, view: view.index(), offset: stretch.start, length });
            }
        }
    }

    /// Ends what is open: the next stretch belongs to another view, or to one that is read through another lens.
    pub(crate) fn close(&mut self) {
        if let Some(place) = self.open.take() {
            self.runs += 1;
            self.places.extend((self.places.len() < PLACE_LIMIT).then_some(place));
        }
    }

    /// Adds what was counted behind this.
    pub(crate) fn append(&mut self, behind: Self) {
        self.close();
        let (runs, places) = behind.finish();
        self.runs += runs;
        let left = PLACE_LIMIT - self.places.len();
        self.places.extend(places.into_iter().take(left));
    }

    /// How many runs there are, and the first of them.
    pub(crate) fn finish(mut self) -> (u64, Vec<Place>) {
        self.close();
        (self.runs, self.places)
    }
}
