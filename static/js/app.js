// What every page runs. A page with more elements loads their modules itself.
import "holdfast/busy";
import "holdfast/command-palette";
import "holdfast/copy-button";
import "holdfast/dialogs";
import "holdfast/hot-keys";
import "holdfast/list-filters";
import "holdfast/menus";
import "holdfast/row-list";
import "holdfast/saved-filters";
import "holdfast/theme-switch";
import "holdfast/time-ago";
import "holdfast/toasts";
