//! Listings, page by page, the newest entry first. What is added meanwhile moves nothing that is still to come.

use crate::Refused;

/// Most entries of a page.
const PAGE_LIMIT: u32 = 100;

/// Entries of a page that does not say how many.
const PAGE_USUAL: u32 = 50;

/// A listing. Its letter stands before the tokens of its pages, so that one listing's token is not taken for
/// another's, whose places are counted apart.
#[derive(Debug, Clone, Copy)]
pub enum Listing {
    /// Of a researcher's jobs.
    Jobs,
    /// Of a recipient's releases.
    Releases,
    /// Of a steward's reviews.
    Reviews,
}

/// A page that is asked for: the newest entries before a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many entries.
    pub size: u32,
    /// Entries have places, the newest the largest. Those of this page have smaller ones than this.
    pub before: i64,
}

impl Listing {
    fn letter(self) -> &'static str {
        match self {
            Self::Jobs => "j",
            Self::Releases => "r",
            Self::Reviews => "v",
        }
    }

    /// The page that a caller asks for.
    ///
    /// # Errors
    /// [`Refused::PageSize`] and [`Refused::PageToken`], for a token that this listing did not give.
    pub fn page(self, size: u32, token: &str) -> Result<Page, Refused> {
        if size > PAGE_LIMIT {
            return Err(Refused::PageSize { limit: PAGE_LIMIT });
        }
        let size = if size == 0 { PAGE_USUAL } else { size };
        if token.is_empty() {
            return Ok(Page { size, before: i64::MAX });
        }
        let place = token.strip_prefix(self.letter()).and_then(|place| place.parse().ok());
        let before = place.filter(|place| *place > 0 && self.token(*place) == token);
        Ok(Page { size, before: before.ok_or(Refused::PageToken)? })
    }

    fn token(self, place: i64) -> String {
        format!("{}{place}", self.letter())
    }

    /// Cuts a list that was read one further than the page goes, and gives the token of the next page.
    pub fn cut<T>(self, page: Page, listed: &mut Vec<T>, place: impl Fn(&T) -> i64) -> String {
        let more = listed.len() > page.size as usize;
        listed.truncate(page.size as usize);
        listed.last().filter(|_| more).map_or_else(String::new, |last| self.token(place(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat_and_the_last_has_no_token() {
        let all: Vec<i64> = (1..=7).rev().collect();
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = Listing::Jobs.page(3, &token).unwrap();
            let mut listed: Vec<i64> = all
                .iter()
                .copied()
                .filter(|place| *place < page.before)
                .take(page.size as usize + 1)
                .collect();
            token = Listing::Jobs.cut(page, &mut listed, |place| *place);
            seen.extend(listed);
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, all);
        let page = Listing::Jobs.page(7, "").unwrap();
        assert_eq!(Listing::Jobs.cut(page, &mut all.clone(), |place| *place), "", "exactly one page");
    }

    #[test]
    fn a_page_that_cannot_be_given_is_refused_by_name() {
        assert_eq!(Listing::Jobs.page(101, ""), Err(Refused::PageSize { limit: 100 }));
        assert_eq!(Listing::Jobs.page(100, "").unwrap().size, 100);
        assert_eq!(Listing::Jobs.page(0, "").unwrap().size, 50);
        for token in ["7", "j", "j0", "j-1", "j07", "j+7", "j7 ", "r7", "j99999999999999999999"] {
            assert_eq!(Listing::Jobs.page(1, token), Err(Refused::PageToken), "{token}");
        }
        assert_eq!(Listing::Releases.page(1, "r7").unwrap().before, 7);
        assert_eq!(Listing::Reviews.page(1, "v7").unwrap().before, 7);
    }
}
