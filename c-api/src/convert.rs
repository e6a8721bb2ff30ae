//! Options in C's types to core's: a number outside of its list is an error with the option's name.

use core::ffi::CStr;

use crate::status::Failure;

/// What a number stands for in a list.
pub(crate) fn choose<T: Copy>(
    name: &'static CStr,
    number: u32,
    list: &[(u32, T)],
) -> Result<T, Failure> {
    let found = list.iter().find(|(code, _)| *code == number);
    found.map(|(_, value)| *value).ok_or(Failure::option(name))
}

/// The number that stands for a value of a list.
pub(crate) fn code_of<T: Copy + PartialEq>(value: T, list: &[(u32, T)]) -> u32 {
    let found = list.iter().find(|(_, other)| *other == value);
    found.map_or(u32::MAX, |(code, _)| *code)
}

/// 0 or 1.
pub(crate) fn flag(name: &'static CStr, number: u32) -> Result<bool, Failure> {
    choose(name, number, &[(0, false), (1, true)])
}
