//! A sum that keeps what rounding takes.

use crate::lanes::Real;

/// Σ x in two words, so that many terms cost no more digits than one: each addition's rounding error is found
/// exactly ([`two_sum`](crate::lanes::Lanes::two_sum)) and goes into the second word (T. Ogita, S. M. Rump and
/// S. Oishi, Accurate sum and dot product, SIAM J. Sci. Comput. 26, 2005, algorithm 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub(crate) struct Sum<T> {
    /// The sum, rounded once.
    pub(crate) high: T,
    /// What is missing in it: at most half a unit in its last place.
    pub(crate) low: T,
}

impl<T: Real> Sum<T> {
    /// The sum with one more term.
    #[inline(always)]
    #[must_use]
    pub(crate) fn plus(self, x: T) -> Self {
        let (high, error) = self.high.two_sum(x);
        let (high, low) = high.two_sum(self.low + error);
        Sum { high, low }
    }
}

impl<T: Real> FromIterator<T> for Sum<T> {
    #[inline(always)]
    fn from_iter<I: IntoIterator<Item = T>>(terms: I) -> Self {
        let none = Sum::default();
        terms.into_iter().fold(none, |sum, x| sum.plus(x))
    }
}
