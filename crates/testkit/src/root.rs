use std::path::PathBuf;

/// The checkout that this is run in: the folder with `Cargo.lock`, here or
/// above. Not the one that it was built in: checkouts may share what they build.
///
/// # Errors
/// When there is none.
pub fn root() -> std::io::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.map(std::path::Path::to_owned).ok_or_else(|| {
        let why = format!("{} is in no checkout: no Cargo.lock, here or above", here.display());
        std::io::Error::new(std::io::ErrorKind::NotFound, why)
    })
}
