//! A search: what is compared with what, pass by pass.

use release::report::ScanReport;
use release::rule::Rule;
use release::statement::RuleResult;

use crate::background::{Background, KeyedBackground};
use crate::comparison::{Comparison, Substitution, comparisons};
use crate::data::{self, Source};
use crate::data_index::{self, DataIndex};
use crate::distances::Distances;
use crate::hash::HashKey;
use crate::hints::{Hints, MadeIndex, Windows};
use crate::lens::{Lens, Seen};
use crate::pairs::Pairs;
use crate::parallel;
use crate::pass::{Layer, Pass, Passes};
use crate::search::{Measure, Search};
use crate::sieve::{self, Asked, Nearby};
use crate::snapshot_index::SnapshotIndex;
use crate::substitution::{self, ReadData, ReadFile, Searched, SymbolIndex, SymbolPasses};
use crate::tally::Tally;
use crate::{Limits, ScanError, SearchedView};

/// Fewest bytes of a pass, if the limits allow so many.
const SMALL_PASS: usize = 4 << 20;

/// What a search is of.
pub(crate) struct Scan<'a> {
    pub(crate) key: &'a HashKey,
    pub(crate) background: &'a Background,
    pub(crate) data: Vec<&'a dyn Source>,
    /// Indexes of all files of the data, or none.
    pub(crate) indexes: &'a [SnapshotIndex],
    pub(crate) limits: Limits,
}

impl Scan<'_> {
    /// Searches views, which are sorted.
    pub(crate) fn run(&self, views: &[SearchedView<'_>]) -> Result<ScanReport, ScanError> {
        let mut rules = [RuleResult::NotChecked; Rule::ALL.len()];
        let checked = !views.is_empty();
        let mut tally = Tally::default();
        let mut measure = None;
        for (found, exactly) in self.compare_all(layers(views)?)? {
            tally.append(found);
            measure = measure.or(exactly);
        }
        let searched = self.substituted(views, &mut tally)?;
        let measure = match measure {
            Some(measure) => measure,
            None => self.compare_nothing()?,
        };
        if measure.bytes == 0 {
            return Err(ScanError::NoData);
        }
        let (runs, places) = tally.finish();
        if checked {
            rules[Rule::CopyExact.index()] = if runs > 0 { RuleResult::Blocked } else { RuleResult::Passed };
        }
        if searched == Searched::TooAlike {
            rules[Rule::CopyViews.index()] = RuleResult::Blocked;
        }
        let exempt_millionths = millionths(measure);
        Ok(ScanReport { rules, exempt_millionths, data_bytes: measure.bytes, runs, places })
    }

    /// Searches each group of views, and returns what was found in their order, with the measure of the data as it is.
    /// The data as it is has most of the views: all threads share them. Other readings of it are searched one a thread.
    fn compare_all(&self, groups: Vec<Group<'_>>) -> Result<Vec<(Tally, Option<Measure>)>, ScanError> {
        let exact = |group: &Group<'_>| group.comparison == Comparison::exact();
        let exactly = groups.iter().position(exact);
        let mut groups = groups;
        let of_exact = exactly.map(|at| self.compare(groups.remove(at), self.limits.threads)).transpose()?;
        let mut found = parallel::in_order(self.limits.threads, groups, |group| {
            let (tally, _) = self.compare(group, 1)?;
            Ok::<_, ScanError>((tally, None))
        })?;
        if let (Some(at), Some(of_exact)) = (exactly, of_exact) {
            found.insert(at, of_exact);
        }
        Ok(found)
    }

    /// Searches views, in as many passes as they need. No measure if there was no view.
    fn compare(&self, group: Group<'_>, threads: usize) -> Result<(Tally, Option<Measure>), ScanError> {
        let Group { comparison, of_views, bytes } = group;
        let background = self.background.keyed(self.key, &comparison.data);
        let is_indexed = !self.indexes.is_empty() && comparison == Comparison::exact();
        let data_bytes = self.data_bytes()?.saturating_mul(comparison.data.len() as u64);
        // With an index the data is read only if that is the lesser part of the work.
        let is_worth = if is_indexed { data_bytes <= bytes } else { data_index::is_worth(data_bytes, bytes) };
        let pairs =
            (is_worth && self.limits.indexed_bytes > 0).then(|| self.pairs(&comparison)).transpose()?;
        let known = pairs.as_ref().map(|pairs| pairs.measure).or_else(|| is_indexed.then(|| self.measure()));
        let make = || {
            let index = self.index(&comparison, data_bytes, &background)?;
            if known.is_some_and(|before| before != index.measure) {
                return Err(ScanError::DataChanged);
            }
            Ok(index)
        };
        let made = MadeIndex::new(data_bytes, make);
        let windows = match &pairs {
            _ if is_indexed => Windows::Snapshots(self.indexes, &background),
            Some(_) if data_bytes <= self.limits.indexed_bytes / self.limits.threads.max(1) as u64 => {
                Windows::Made(&made)
            }
            _ => Windows::Unknown,
        };
        let hints = Hints { pairs: pairs.as_ref(), windows };
        let pass_bytes = self.pass_bytes()?;
        let layers = parallel::in_order(threads, of_views, |layers| self.that_may_hold(layers, &hints))?;
        let layers = layers.into_iter().flatten().collect();
        let searched = parallel::in_order(threads, batches(layers, pass_bytes as u64), |layers| {
            let mut passes = Passes::new(layers, pass_bytes, comparison.weak, hints);
            let (mut tally, mut measures) = (Tally::default(), Vec::new());
            while let Some(pass) = passes.advance(self.key)? {
                if pass.is_done() {
                    passes.finish(pass, &mut tally);
                    continue;
                }
                let (pass, measure) = self.search(pass, &comparison, &background)?;
                measures.extend(measure);
                passes.finish(pass, &mut tally);
            }
            Ok::<_, ScanError>((tally, measures))
        })?;
        let (mut tally, mut measured) = (Tally::default(), known);
        for (found, measures) in searched {
            tally.append(found);
            for measure in measures {
                if measured.is_some_and(|before| before != measure) {
                    return Err(ScanError::DataChanged);
                }
                measured = Some(measure);
            }
        }
        Ok((tally, measured))
    }

    /// Those layers of a view that may hold a run, as far as it is known which bytes follow which in the data.
    fn that_may_hold<'a>(
        &self,
        mut layers: Vec<Layer<'a>>,
        hints: &Hints<'_>,
    ) -> Result<Vec<Layer<'a>>, ScanError> {
        let (Some(pairs), Some(Layer { output, view, source, .. })) = (hints.pairs, layers.first()) else {
            return Ok(layers);
        };
        let (output, view) = (*output, *view);
        let near = Nearby { pairs, windows: hints.windows, key: self.key };
        let mut asked: Vec<_> = layers.iter().map(|layer| Asked::new(layer.lens, &near)).collect();
        sieve::ask(*source, &mut asked, |source| ScanError::ReadView { output, view, source })?;
        let mut answers = asked.iter().map(|asked| asked.is_maybe);
        layers.retain(|_| answers.next().unwrap_or(true));
        Ok(layers)
    }

    /// Which bytes follow which in the data.
    fn pairs(&self, comparison: &Comparison) -> Result<Pairs, ScanError> {
        let read = |read: &mut ReadFile<'_>| self.read_data(&comparison.data, &mut |seen| read(seen));
        Pairs::of(comparison.weak, self.limits.chunk_bytes, read)
    }

    /// An index of so many bytes of data.
    fn index(
        &self,
        comparison: &Comparison,
        data_bytes: u64,
        background: &KeyedBackground,
    ) -> Result<DataIndex, ScanError> {
        let mut index = DataIndex::new(data_bytes, comparison.weak);
        self.read_data(&comparison.data, &mut |seen| {
            index.add(seen, self.limits.chunk_bytes, self.key, background)
        })?;
        Ok(index)
    }

    /// Searches views for data whose symbols are replaced by others.
    fn substituted(&self, views: &[SearchedView<'_>], tally: &mut Tally) -> Result<Searched, ScanError> {
        let distances = Distances::keyed(self.key);
        let background = self.background.keyed(self.key, &[Lens::Same]);
        let (mut searched, mut index) = (Searched::Whole, None);
        for substitution in Substitution::ALL {
            let layers = views.iter().filter(|view| Substitution::of(view.view) == Some(substitution));
            let layers = layers.map(|view| Layer::of(view, substitution.view()));
            let layers = layers.collect::<Result<Vec<_>, _>>()?;
            if layers.is_empty() {
                continue;
            }
            let read = |read: &mut ReadFile<'_>| self.read_data(substitution.data(), &mut |seen| read(seen));
            let read_public =
                |read: &mut ReadFile<'_>| self.read_public(substitution.data(), &mut |seen| read(seen));
            let read_public: Option<&ReadData<'_>> =
                (!self.background.files.is_empty()).then_some(&read_public);
            let is_known = index.as_ref().is_some_and(|(lenses, _)| *lenses == substitution.data());
            if !is_known && self.data_bytes()? <= self.limits.indexed_bytes {
                // Two of them at a time would take twice the memory.
                drop(index.take());
                let bytes = self.data_bytes()?.saturating_mul(2 * substitution.data().len() as u64);
                index = Some((substitution.data(), SymbolIndex::new(&distances, bytes, &read)?));
            }
            let index = index.as_ref().map(|(_, index)| index);
            let pass_bytes = (substitution::PASS_SYMBOLS * substitution.view_width()) as u64;
            let batches = batches(layers, pass_bytes);
            let done = parallel::in_order(self.limits.threads, batches, |layers| {
                let mut tally = Tally::default();
                let came_to = substitution::search(
                    SymbolPasses::new(layers, substitution, &distances, index),
                    &distances,
                    &read,
                    read_public,
                    &|bytes| background.bytes(bytes, self.key),
                    &mut |output, view, stretch| tally.add(output, view, stretch),
                )?;
                Ok::<_, ScanError>((tally, came_to))
            })?;
            for (found, came_to) in done {
                tally.append(found);
                if came_to == Searched::TooAlike {
                    searched = came_to;
                }
            }
        }
        Ok(searched)
    }

    /// Reads every private file through each of these lenses.
    fn read_data(&self, lenses: &[Lens], read: &mut ReadFile<'_>) -> Result<(), ScanError> {
        for (file, source) in self.data.iter().enumerate() {
            for lens in lenses {
                let opened = source.open().and_then(|bytes| read(&mut Seen::new(bytes, *lens)));
                opened.map_err(|source| ScanError::ReadData { file, source })?;
            }
        }
        Ok(())
    }

    /// Reads every public file through each of these lenses.
    fn read_public(&self, lenses: &[Lens], read: &mut ReadFile<'_>) -> Result<(), ScanError> {
        for (file, source) in self.background.files.iter().enumerate() {
            for lens in lenses {
                let opened = source.open().and_then(|bytes| read(&mut Seen::new(bytes, *lens)));
                opened.map_err(|source| ScanError::ReadPublic { file, source })?;
            }
        }
        Ok(())
    }

    /// Bytes of a pass. A pass is as long as the data, within bounds: much longer than its data it would cost more in
    /// places of memory that are far from the processor than it saves in reading data.
    fn pass_bytes(&self) -> Result<usize, ScanError> {
        let bytes = usize::try_from(self.data_bytes()?).unwrap_or(usize::MAX).max(SMALL_PASS);
        let most = self.limits.pass_bytes / self.limits.threads.max(1);
        Ok(most.min(bytes.checked_next_power_of_two().unwrap_or(usize::MAX)))
    }

    /// Bytes of all private files.
    fn data_bytes(&self) -> Result<u64, ScanError> {
        let mut bytes = 0_u64;
        for (file, source) in self.data.iter().enumerate() {
            let length = source.length().map_err(|source| ScanError::ReadData { file, source })?;
            bytes = bytes.saturating_add(length);
        }
        Ok(bytes)
    }

    /// Measures the data: reads it once, if there is no index.
    fn compare_nothing(&self) -> Result<Measure, ScanError> {
        let background = Background::default().keyed(self.key, &[]);
        if !self.indexes.is_empty() {
            return Ok(self.measure());
        }
        let nothing = Pass::of_nothing(self.key)?;
        Ok(self.search(nothing, &Comparison::exact(), &background)?.1.unwrap_or_default())
    }

    /// What the indexes say of how much data there is.
    fn measure(&self) -> Measure {
        self.indexes.iter().map(SnapshotIndex::measure).fold(Measure::default(), |sum, measure| Measure {
            bytes: sum.bytes + measure.bytes,
            exempt: sum.exempt + measure.exempt,
        })
    }

    /// Searches the data for what one pass holds, and measures it unless only stretches of it are read. What is public is no
    /// copy: of what was found the files of the background are searched for, in the same reading.
    fn search(
        &self,
        pass: Pass,
        comparison: &Comparison,
        background: &KeyedBackground,
    ) -> Result<(Pass, Option<Measure>), ScanError> {
        let (mut pass, measure) = self.search_data(pass, comparison, background)?;
        if !self.background.files.is_empty() && pass.found.count() > 0 {
            let nothing = Background::default().keyed(self.key, &[]);
            let mut public = Search::new(self.key, &nothing, pass.of_found(self.key)?);
            self.read_public(&comparison.data, &mut |seen| public.search(seen, self.limits.chunk_bytes))?;
            pass.excuse(public.into_pass(), self.key, background);
        }
        Ok((pass, measure))
    }

    fn search_data(
        &self,
        pass: Pass,
        comparison: &Comparison,
        background: &KeyedBackground,
    ) -> Result<(Pass, Option<Measure>), ScanError> {
        let stretches = pass.stretches().map(<[_]>::to_vec);
        let mut search = Search::new(self.key, background, pass);
        let chunk_bytes = self.limits.chunk_bytes;
        let Some(stretches) = stretches else {
            self.read_data(&comparison.data, &mut |seen| search.search(seen, chunk_bytes))?;
            let measure = search.measure;
            return Ok((search.into_pass(), Some(measure)));
        };
        for (file, stretches) in stretches {
            for stretch in stretches {
                let opened = self.data[file].open_at(data::begin(&stretch));
                let searched = opened.and_then(|opened| search.search_within(opened, &stretch, chunk_bytes));
                searched.map_err(|source| ScanError::ReadData { file, source })?;
            }
        }
        Ok((search.into_pass(), None))
    }
}

/// What is compared with one reading of the data.
struct Group<'a> {
    comparison: Comparison,
    /// Of each view the lenses that it is read through.
    of_views: Vec<Vec<Layer<'a>>>,
    /// Bytes that the layers are read off.
    bytes: u64,
}

/// The views, read through their lenses, in groups of what they are compared with.
fn layers<'a>(views: &'a [SearchedView<'_>]) -> Result<Vec<Group<'a>>, ScanError> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for view in views {
        let mut of_view: Vec<(Comparison, Vec<Layer<'a>>)> = Vec::new();
        for (comparison, lens) in comparisons(view.view, view.length()?) {
            let layer = Layer::of(view, lens)?;
            match of_view.iter_mut().find(|(known, _)| *known == comparison) {
                Some((_, layers)) => layers.push(layer),
                None => of_view.push((comparison, vec![layer])),
            }
        }
        for (comparison, layers) in of_view {
            let known = groups.iter().position(|known| known.comparison == comparison);
            let group = known.unwrap_or_else(|| {
                groups.push(Group { comparison, of_views: Vec::new(), bytes: 0 });
                groups.len() - 1
            });
            groups[group].bytes += layers.iter().map(|layer| layer.bytes).sum::<u64>();
            groups[group].of_views.push(layers);
        }
    }
    Ok(groups)
}

/// Layers that are searched together: as many as fit into one pass.
fn batches(layers: Vec<Layer<'_>>, pass_bytes: u64) -> Vec<Vec<Layer<'_>>> {
    let mut batches: Vec<Vec<Layer<'_>>> = Vec::new();
    let mut room = 0;
    for layer in layers {
        let bytes = layer.bytes;
        match batches.last_mut() {
            Some(batch) if bytes <= room => {
                room -= bytes;
                batch.push(layer);
            }
            _ => {
                room = pass_bytes.saturating_sub(bytes);
                batches.push(vec![layer]);
            }
        }
    }
    batches
}

/// The share of the data that is exempt, rounded up so that no exempt block reads as none.
fn millionths(measure: Measure) -> u32 {
    let millionths = (u128::from(measure.exempt) * 1_000_000).div_ceil(u128::from(measure.bytes));
    u32::try_from(millionths).expect("no more is exempt than there is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_exempt_block_in_a_great_deal_of_data_does_not_read_as_none() {
        assert_eq!(millionths(Measure { bytes: 1 << 40, exempt: 64 }), 1);
        assert_eq!(millionths(Measure { bytes: 1 << 40, exempt: 0 }), 0);
        assert_eq!(millionths(Measure { bytes: u64::MAX, exempt: u64::MAX }), 1_000_000);
    }
}
