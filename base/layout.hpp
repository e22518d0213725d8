// Where files live. One root moves all of them, so that nothing needs root and tests run side by side.
#pragma once

#include <filesystem>

namespace mpath {

struct Layout {
  std::filesystem::path root;  // "/" unless --root DIR or MPATHD_ROOT says otherwise

  [[nodiscard]] std::filesystem::path etc() const { return root / "etc/mpathd"; }
  [[nodiscard]] std::filesystem::path state() const { return root / "var/lib/mpathd"; }
  [[nodiscard]] std::filesystem::path run() const { return root / "run/mpathd"; }

  [[nodiscard]] std::filesystem::path initiator_name() const { return etc() / "initiatorname.iscsi"; }
  [[nodiscard]] std::filesystem::path iscsid_conf() const { return etc() / "iscsid.conf"; }
  [[nodiscard]] std::filesystem::path multipath_conf() const { return etc() / "multipath.conf"; }
  [[nodiscard]] std::filesystem::path database() const { return state() / "mpathd.sqlite"; }
  [[nodiscard]] std::filesystem::path control_socket() const { return run() / "mpathd.sock"; }
  [[nodiscard]] std::filesystem::path nbd_sockets() const { return run() / "nbd"; }
  [[nodiscard]] std::filesystem::path boot_firmware() const { return root / "sys/firmware/ibft"; }

  // Of the target.
  [[nodiscard]] std::filesystem::path target_etc() const { return root / "etc/mptarget"; }
  [[nodiscard]] std::filesystem::path target_state() const { return root / "var/lib/mptarget"; }
  [[nodiscard]] std::filesystem::path target_run() const { return root / "run/mptarget"; }
  [[nodiscard]] std::filesystem::path target_conf() const { return target_etc() / "mptarget.conf"; }
  [[nodiscard]] std::filesystem::path target_conf_d() const { return target_etc() / "conf.d"; }
  [[nodiscard]] std::filesystem::path target_units() const { return target_state() / "lu"; }
  [[nodiscard]] std::filesystem::path target_socket() const { return target_run() / "mptarget.sock"; }
};

// `option` (the value of --root, may be empty) before MPATHD_ROOT before "/".
[[nodiscard]] Layout make_layout(const std::filesystem::path& option);

}  // namespace mpath
