{
  "targets": [
    {
      "target_name": "compress_distill",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(module_root_dir)/build/.native-stamp"],
          "action": ["node", "<(module_root_dir)/scripts/setup.mjs", "--only", "native"]
        }
      ]
    }
  ]
}
