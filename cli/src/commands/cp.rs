//! `hob cp`: a second name for a model of the store.

use clap::Args;

use crate::store::Store;
use crate::view::View;

#[derive(Args)]
pub(crate) struct CpArgs {
    /// Name from the store
    name: String,
    /// The second name
    new: String,
}

/// Runs `hob cp`.
pub(crate) fn run(args: &CpArgs) -> anyhow::Result<()> {
    let mut view = View::new(false);
    let model = Store::open()?.copy(&args.name, &args.new, &mut view)?;
    view.say(&format!(
        "{} is ready: {}",
        model.manifest.name,
        model.path.display()
    ));
    Ok(())
}
